"""Mirrors: what a publisher signed lives on with machines that have no key of it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from plasm_fetching.artifact import Artifact
from plasm_provider.sources.bases import Bases
from plasm_provider.sources.mirrored import Mirrored

from plasm.errors import PlasmError

from .conftest import KERNEL, PATIENCE, ROOTFS, Publisher
from .machines import Machine


@pytest.fixture
def root(tmp_path: Path, publisher: Publisher) -> Path:
    file = tmp_path / "root.json"
    file.write_bytes(publisher.root)
    return file


def test_the_chain_of_three_goes_on_without_its_publisher(tmp_path, publisher, root) -> None:
    first, second, client = (Machine(tmp_path / name) for name in ("first", "second", "client"))
    machine = Machine(tmp_path / "publisher")
    with (
        machine.provides("serve", "--repository", publisher.folder, "--arch", "x86_64") as serving,
        first.provides("mirror", "--from", serving.url, "--root", root, "--arch", "x86_64") as mirror,
    ):
        serving.process.kill()
        serving.process.wait(PATIENCE)
        with second.provides("mirror", "--from", mirror.url, "--root", root, "--arch", "x86_64") as another:
            assert another.get("stable/x86_64/kernel") == KERNEL
            assert another.get("stable/x86_64/manifest.json") == mirror.get("manifest.json")
        fetched = client(
            *("phase-fetch", "--root", root, "--output", tmp_path / "boot"),
            f"{mirror.url}stable/x86_64/manifest.json",
        )
        assert fetched.returncode == 0, fetched.stderr
        code, said = mirror.stop()
    assert code == 0
    assert "with no key of its own" in said
    assert (tmp_path / "boot" / "kernel").read_bytes() == KERNEL
    assert (tmp_path / "boot" / "rootfs").read_bytes() == ROOTFS
    assert not list(first.home.rglob("*.key"))


def test_what_was_mirrored_is_served_again_while_nobody_can_be_asked(tmp_path, publisher, root) -> None:
    machine, mirror = Machine(tmp_path / "publisher"), Machine(tmp_path / "mirror")
    with machine.provides("serve", "--repository", publisher.folder) as serving:
        url = serving.url
        with mirror.provides("mirror", "--from", url, "--root", root) as copy:
            assert copy.stop()[0] == 0
    with mirror.provides("mirror", "--from", url) as copy:
        assert copy.get("stable/x86_64/kernel") == KERNEL


def test_it_follows_its_publisher_within_its_refresh_time(tmp_path, publisher, root) -> None:
    machine, mirror = Machine(tmp_path / "publisher"), Machine(tmp_path / "mirror")
    with (
        machine.provides("serve", "--repository", publisher.folder) as serving,
        mirror.provides("mirror", "--from", serving.url, "--root", root, "--refresh", 1) as copy,
    ):
        publisher.publish({"stable/x86_64/kernel": b"a newer kernel"})
        copy.until("stable/x86_64/kernel", b"a newer kernel")
        assert copy.get("metadata/timestamp.json") == serving.get("metadata/timestamp.json")


def test_without_a_root_it_is_told_how_to_pin_one_and_a_home_that_has_one_needs_no_more(
    tmp_path, publisher, root
) -> None:
    machine, mirror = Machine(tmp_path / "publisher"), Machine(tmp_path / "mirror")
    with machine.provides("serve", "--repository", publisher.folder) as serving:
        refused = mirror("mirror", "--from", serving.url, "--port", 0, "--no-dht", "--no-mdns")
        assert refused.returncode == 125
        fingerprint = hashlib.sha256(publisher.root).hexdigest()
        command = f"phase-fetch --pin {serving.url}metadata/1.root.json --fingerprint HEX"
        assert command in refused.stderr
        pinned = mirror(*command.replace("HEX", fingerprint).split())
        assert pinned.returncode == 0
        with mirror.provides("mirror", "--from", serving.url) as copy:
            assert copy.get("stable/x86_64/kernel") == KERNEL


def test_another_publishers_root_is_not_followed(tmp_path, publisher, serve) -> None:
    other = Publisher(tmp_path / "other")
    other.publish({"stable/x86_64/kernel": b"another kernel"})
    file = tmp_path / "other.json"
    file.write_bytes(other.root)
    machine, mirror = Machine(tmp_path / "publisher"), Machine(tmp_path / "mirror")
    with (
        machine.provides("serve", "--repository", publisher.folder) as serving,
        machine_of(tmp_path).provides("serve", "--repository", other.folder) as others,
        mirror.provides("mirror", "--from", serving.url, "--from", others.url, "--root", file) as copy,
    ):
        assert copy.get("stable/x86_64/kernel") == b"another kernel"
        _, said = copy.stop()
    assert f"nothing new from {serving.url}" in said


def machine_of(folder: Path) -> Machine:
    return Machine(folder / "others")


def test_a_publisher_that_signs_more_than_the_disk_has_is_told_of_and_nothing_is_fetched(tmp_path, publisher) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mirrored = Mirrored(home, Bases(), logging.getLogger("plasm.tests"), how_to_pin="", spare_bytes=0)
    (home / "mirror").mkdir()
    huge = Artifact(path="stable/x86_64/kernel", size=2**53 - 1, sha256="0" * 64)
    with pytest.raises(PlasmError, match=f"what is signed needs {huge.size} bytes more, and [0-9]+ may be taken"):
        mirrored._check_room([huge])
    mirrored._check_room([Artifact(path="stable/x86_64/kernel", size=1, sha256="0" * 64)])
