"""A publisher that is killed leaves the old state or the new one, and a client that is killed goes on."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from plasm_fetching.http import Absent
from plasm_trust import layout, updater
from plasm_trust.client import TrustClient, pin
from plasm_trust.published import Published

ROOT, ONLINE, STABLE, NEW = 1, 3, 4, 30
KERNEL = "stable/x86_64/kernel"


@pytest.fixture
def everything_new(publisher):
    """Signed and waiting: a new kernel, and new keys for the timestamp and for stable."""
    publisher.held |= {NEW}
    new = publisher.did(NEW)

    def change(settings):
        roles = {**settings.roles, "timestamp": msgspec.structs.replace(settings.roles["timestamp"], keys=(new,))}
        channels = {**settings.channels, "stable": msgspec.structs.replace(settings.channels["stable"], keys=(new,))}
        return msgspec.structs.replace(settings, roles=roles, channels=channels)

    publisher.configure(change)
    with publisher.open() as repository:
        file = publisher.folder.parent / "content"
        file.write_bytes(b"a newer kernel")
        repository.add(KERNEL, file)
        repository.sign(publisher.signers)
    return publisher


def test_a_publisher_that_is_killed_at_any_write_leaves_a_whole_repository(everything_new, tmp_path: Path, begin):
    copies = tmp_path / "copies"
    script = Path(__file__).with_name("killed_publisher.py")
    done = subprocess.run(
        [sys.executable, script, everything_new.folder, copies], capture_output=True, text=True, check=True, timeout=100
    )
    last, status = map(int, done.stdout.split())
    assert status == 0, done.stderr
    assert last >= 12
    root = (everything_new.folder / "metadata/1.root.json").read_bytes()
    pin(tmp_path / "client", root)
    sizes = []
    for number in range(last + 1):
        folder = copies / str(number)
        published = Published.load(folder)
        assert set(published.manifests) == {("stable", "x86_64"), ("beta", "arm64")}
        for artifact in published.artifacts.values():
            file = layout.artifact_file(folder / "targets", artifact)
            assert file is not None
            assert hashlib.sha256(file.read_bytes()).hexdigest() == artifact.sha256

        def read(url: str, max_bytes: int, served: Published = published) -> bytes:
            try:
                return served.metadata[url.rpartition("/")[2]]
            except KeyError:
                raise Absent(url) from None

        client = TrustClient(tmp_path / "client", read, now=lambda: begin)
        client.refresh("http://provider/")
        sizes.append(client.artifact(KERNEL).size)
    assert sizes == sorted(sizes)
    assert set(sizes) == {8, 14}
    assert sizes[-1] == 14


def test_a_publication_that_was_interrupted_is_completed_by_the_next_one(everything_new, tmp_path: Path):
    copies = tmp_path / "copies"
    script = Path(__file__).with_name("killed_publisher.py")
    subprocess.run([sys.executable, script, everything_new.folder, copies], check=True, timeout=100)
    for folder in copies.iterdir():
        everything_new.folder = folder
        published = everything_new.publish()
        assert published.artifacts[KERNEL].size == 14
        assert published.versions["root"] == 2
        assert (folder / "targets" / KERNEL).read_bytes() == b"a newer kernel"
        assert not list(folder.rglob(".new-*"))
        assert not list((folder / "staged").rglob("*.json"))


def test_a_client_that_is_killed_at_any_write_believes_the_old_or_the_new(client, provider, publisher, monkeypatch):
    """Its files are written one by one; at each of them the power fails."""
    client.refresh().artifact(KERNEL)
    publisher.held |= {NEW}
    provider.serve(publisher.publish({KERNEL: b"a newer kernel"}))
    write = updater.write_whole

    class PowerFailed(BaseException):
        pass

    for fatal in range(100):
        count = 0

        def failing(path, data, fatal=fatal):
            nonlocal count
            if count == fatal:
                raise PowerFailed
            count += 1
            write(path, data)

        monkeypatch.setattr(updater, "write_whole", failing)
        try:
            client.refresh().artifact(KERNEL)
        except PowerFailed:
            monkeypatch.setattr(updater, "write_whole", write)
            assert client.refresh().artifact(KERNEL).size == 14
            continue
        break
    assert fatal > 0
