"""What happens to a provider while it serves: files, channels, metadata and disks change."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from plasm_provider.catalog import Catalog
from plasm_provider.offer import Holding
from plasm_provider.sources.plain_folder import PlainFolder
from plasm_provider.sources.repository import SignedRepository
from plasm_trust.keys import did_of

from plasm.signing import create_signer

from .conftest import ARTIFACTS, KERNEL, LOG, POLL, ROOTFS, Publisher, serving


def status_of(answer) -> dict[str, bool]:
    return json.loads(answer.body)["checks"]


def version_of(answer) -> int:
    return json.loads(answer.body)["signed"]["version"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    (folder / "stable" / "x86_64").mkdir(parents=True)
    (folder / "stable" / "x86_64" / "kernel").write_bytes(KERNEL)
    return folder


def test_a_file_that_changed_is_not_served_under_its_name_until_it_is_signed_again(own, publisher) -> None:
    before = own.get("/stable/x86_64/kernel")
    assert (before.status, before.body) == (200, KERNEL)
    for name in (publisher.folder / "targets" / "stable" / "x86_64").glob("*kernel"):
        name.write_bytes(b"another " * 40_000)
    refused = own.until("/stable/x86_64/kernel", lambda answer: answer.status != 200)
    assert refused.status in (404, 503)
    assert b"another" not in refused.body[:100]
    publisher.publish({"stable/x86_64/kernel": b"another " * 40_000})
    after = own.until("/stable/x86_64/kernel", lambda answer: answer.status == 200)
    assert after.body == b"another " * 40_000


def test_a_plain_folder_is_signed_again_when_a_file_changes(serve, folder, tmp_path) -> None:
    served = serve(PlainFolder(folder, tmp_path / "home", LOG, poll=POLL))
    (folder / "stable" / "x86_64" / "kernel").write_bytes(b"a newer kernel")
    answer = served.until("/stable/x86_64/kernel", lambda answer: answer.body == b"a newer kernel")
    manifest = json.loads(served.get("/stable/x86_64/manifest.json").body)
    assert manifest["artifacts"]["kernel"]["hash"] == answer.fields["x-artifact-hash"]


def test_a_new_channel_appears_without_a_restart(serve, folder, tmp_path) -> None:
    served = serve(PlainFolder(folder, tmp_path / "home", LOG, poll=POLL))
    assert served.get("/testing/x86_64/manifest.json").status == 404
    (folder / "testing" / "x86_64").mkdir(parents=True)
    (folder / "testing" / "x86_64" / "kernel").write_bytes(b"a kernel to test")
    served.until("/testing/x86_64/manifest.json", lambda answer: answer.status == 200)
    assert served.get("/testing/x86_64/kernel").body == b"a kernel to test"


def test_a_symbolic_link_in_a_plain_folder_is_not_offered(serve, folder, tmp_path) -> None:
    (tmp_path / "secret").write_bytes(b"not for anybody")
    (folder / "stable" / "x86_64" / "rootfs").symlink_to(tmp_path / "secret")
    served = serve(PlainFolder(folder, tmp_path / "home", LOG, poll=POLL))
    assert served.get("/stable/x86_64/rootfs").status == 404
    assert served.get("/stable/x86_64/kernel").body == KERNEL


def test_who_holds_the_online_keys_renews_the_timestamp(serve, folder, tmp_path) -> None:
    clock = [datetime.now(UTC)]
    served = serve(PlainFolder(folder, tmp_path / "home", LOG, poll=POLL, now=lambda: clock[0]))
    first = json.loads(served.get("/metadata/timestamp.json").body)["signed"]
    clock[0] += timedelta(days=5)
    renewed = served.until(
        "/metadata/timestamp.json", lambda answer: json.loads(answer.body)["signed"]["version"] > first["version"]
    )
    assert json.loads(renewed.body)["signed"]["expires"] > first["expires"]


def test_whoever_has_the_online_keys_of_a_repository_renews_its_timestamp(serve, tmp_path) -> None:
    publisher = Publisher(tmp_path / "with-keys")

    async def publish() -> None:
        uri = f"file:{tmp_path / 'online.key'}"
        async with create_signer(uri) as signer:
            publisher.online = signer
            publisher.uris = {did_of(signer.public_key): uri}
            publisher.publish(ARTIFACTS, datetime.now(UTC) - timedelta(days=6))

    anyio.run(publish)
    clock = [datetime.now(UTC)]
    served = serve(SignedRepository(publisher.folder, LOG, poll=POLL, now=lambda: clock[0]))
    assert any("renews what the online keys sign" in note for note in served.provider.source.notes)
    # At the start the timestamp had a day left.
    served.until("/metadata/timestamp.json", lambda answer: version_of(answer) == 2)
    clock[0] += timedelta(days=4)
    served.until("/metadata/timestamp.json", lambda answer: version_of(answer) == 3)


def test_who_has_no_online_keys_says_that_it_does_not_renew(own) -> None:
    assert any("renews nothing, so that its publisher must before" in note for note in own.provider.source.notes)


def test_what_a_client_began_with_is_there_until_the_publication_after_the_next(own, publisher) -> None:
    old = own.get("/stable/x86_64/kernel").sha256
    publisher.publish({"stable/x86_64/kernel": b"a newer kernel"})
    own.until("/stable/x86_64/kernel", lambda answer: answer.body == b"a newer kernel")
    for path in (f"/targets/stable/x86_64/{old}.kernel", f"/sha256/{old}"):
        assert own.get(path).body == KERNEL
    publisher.publish({"stable/x86_64/kernel": b"the newest kernel"})
    own.until("/stable/x86_64/kernel", lambda answer: answer.body == b"the newest kernel")
    assert own.get(f"/sha256/{old}").status == 404


def test_a_download_goes_on_while_the_publisher_publishes(own, publisher) -> None:
    with own.connect() as connection:
        connection.sendall(b"GET /stable/x86_64/rootfs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        taken = connection.recv(1000)
        publisher.publish({"stable/x86_64/rootfs": b"a newer root"})
        own.until("/stable/x86_64/rootfs", lambda answer: answer.body == b"a newer root")
        while piece := connection.recv(2**20):
            taken += piece
    assert taken.partition(b"\r\n\r\n")[2] == ROOTFS


def test_a_download_of_a_file_that_is_written_to_breaks_off(own, publisher) -> None:
    with own.connect() as connection:
        connection.sendall(b"GET /stable/x86_64/rootfs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        taken = connection.recv(1000)
        for name in (publisher.folder / "targets" / "stable" / "x86_64").glob("*rootfs"):
            with name.open("r+b") as file:
                file.write(b"overwritten")
        while piece := connection.recv(2**20):
            taken += piece
    assert len(taken) < len(ROOTFS)


def test_a_file_is_hashed_once_and_not_at_the_next_start(publisher, tmp_path, portal) -> None:
    home = tmp_path / "home"
    for kept in (publisher.folder / "targets").rglob("*"):
        os.utime(kept, (0, 0))
    hashed: list[str] = []

    def count(catalog: Catalog, targets: Path, holding: Holding) -> Holding:
        hashed.append(holding.artifact.path)
        return hash_file(catalog, targets, holding)

    hash_file = Catalog._hash
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Catalog, "_hash", count)
        # What has just been written may change within one tick of its file system's clock, and is not remembered.
        patch.setattr("plasm_provider.known._RACY_NS", 0)
        for _ in range(2):
            with serving(portal, SignedRepository(publisher.folder, LOG, poll=POLL), home) as served:
                assert served.get("/stable/x86_64/kernel").body == KERNEL
                served.get("/stable/x86_64/kernel")
    assert sorted(hashed) == sorted(ARTIFACTS)


def test_it_serves_from_an_asyncio_loop_too(publisher, tmp_path) -> None:
    with start_blocking_portal("asyncio") as portal:
        source = SignedRepository(publisher.folder, LOG, poll=POLL)
        with serving(portal, source, tmp_path / "home") as served:
            assert served.get("/stable/x86_64/rootfs").body == ROOTFS
            publisher.publish({"stable/x86_64/kernel": b"a newer kernel"})
            served.until("/stable/x86_64/kernel", lambda answer: answer.body == b"a newer kernel")


def test_health_is_503_where_the_metadata_has_expired(serve, tmp_path) -> None:
    # Made then: a repository takes no time for the present one that is before what it has signed.
    publisher = Publisher(tmp_path / "old")
    publisher.publish({"stable/x86_64/dtb": b"devices"}, datetime.now(UTC) - timedelta(days=3650))
    served = serve(SignedRepository(publisher.folder, LOG, poll=POLL))
    answer = served.get("/health")
    assert answer.status == 503
    assert not status_of(answer)["metadata_current"]
    assert served.get("/stable/x86_64/manifest.json").status == 200


def test_health_turns_503_when_the_folder_cannot_be_read_and_comes_back(own, publisher) -> None:
    assert own.until("/health", lambda answer: answer.status == 200)
    targets, aside = publisher.folder / "targets", publisher.folder / "aside"
    shutil.move(targets, aside)
    answer = own.until("/health", lambda answer: answer.status == 503)
    assert not status_of(answer)["artifacts_readable"]
    shutil.move(aside, targets)
    own.until("/health", lambda answer: answer.status == 200)
    assert own.get("/stable/x86_64/kernel").body == ARTIFACTS["stable/x86_64/kernel"]


def test_health_turns_503_when_the_disk_is_nearly_full(serve, publisher) -> None:
    served = serve(SignedRepository(publisher.folder, LOG, poll=POLL), least_free_bytes=2**62)
    answer = served.until("/health", lambda answer: answer.status == 503)
    assert not status_of(answer)["disk_space_ok"]
