"""What happens to a provider while it serves: files, channels, metadata and disks change."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from plasm_provider.sources.plain_folder import PlainFolder
from plasm_provider.sources.repository import SignedRepository

from .conftest import ARTIFACTS, KERNEL, LOG, POLL


def status_of(answer) -> dict[str, bool]:
    return json.loads(answer.body)["checks"]


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


def test_health_turns_503_when_the_metadata_has_expired(serve, publisher) -> None:
    publisher.publish({"stable/x86_64/dtb": b"devices"}, datetime.now(UTC) - timedelta(days=3650))
    served = serve(SignedRepository(publisher.folder, LOG, poll=POLL), offering=False)
    answer = served.until("/health", lambda answer: not status_of(answer)["metadata_current"])
    assert answer.status == 503


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
