"""plasm-tuf-client does what the TUF conformance suite asks of a client, over real HTTP.

The suite itself (theupdateframework/tuf-conformance) is in no package index; these are its cases, against a repository
that is made here with python-tuf, of no layout of ours.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from plasm_trust.conformance import run
from plasm_trust.keys import TufSigner
from plasm_trust.tufapi import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from plasm.testing import FakeSigner

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)


class Simulator:
    """A repository in memory; each role has one key, and what it says is signed when it is asked for."""

    def __init__(self) -> None:
        self.keys = {
            name: FakeSigner(number) for number, name in enumerate(("root", "timestamp", "snapshot", "targets"))
        }
        self.root = Root(expires=SOON, consistent_snapshot=True)
        for role, signer in self.keys.items():
            self.root.add_key(TufSigner(signer).public_key, role)
        self.timestamp = Timestamp(expires=SOON)
        self.snapshot = Snapshot(expires=SOON)
        self.targets: dict[str, Targets] = {"targets": Targets(expires=SOON)}
        self.roots: dict[int, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.replaced: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.publish_root(["root"])

    def publish_root(self, signers: list[str]) -> None:
        metadata = Metadata(self.root)
        for name in signers:
            metadata.sign(TufSigner(self.keys[name]), append=True)
        self.roots[self.root.version] = metadata.to_bytes()

    def signed(self, signed: Any, *names: str) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        for name in names:
            metadata.sign(TufSigner(self.keys[name]), append=True)
        return metadata.to_bytes()

    def update(self) -> None:
        """Name the newest versions in snapshot and timestamp."""
        for name, targets in self.targets.items():
            self.snapshot.meta[f"{name}.json"] = MetaFile(targets.version)
        self.snapshot.version += 1
        self.timestamp.snapshot_meta.version = self.snapshot.version
        self.timestamp.version += 1

    def add_target(self, path: str, content: bytes, role: str = "targets") -> None:
        target = TargetFile.from_data(path, content)
        self.targets[role].targets[path] = target
        self.files[target.get_prefixed_paths()[0]] = content

    def delegate(self, name: str, paths: list[str]) -> None:
        self.keys[name] = FakeSigner(100 + len(self.keys))
        key = TufSigner(self.keys[name]).public_key
        delegations = self.targets["targets"].delegations or Delegations({}, {})
        delegations.keys[key.keyid] = key
        assert delegations.roles is not None
        delegations.roles[name] = DelegatedRole(name, [key.keyid], 1, False, paths)
        self.targets["targets"].delegations = delegations
        self.targets[name] = Targets(expires=SOON)

    def answer(self, path: str) -> bytes | None:
        self.requests.append(path)
        if path in self.replaced:
            return self.replaced[path]
        if path.startswith("/targets/"):
            return self.files.get(path.removeprefix("/targets/"))
        name = path.removeprefix("/metadata/").removesuffix(".json")
        if name == "timestamp":
            return self.signed(self.timestamp, "timestamp")
        version, _, role = name.partition(".")
        if role == "root":
            return self.roots.get(int(version))
        if role == "snapshot" and int(version) == self.snapshot.version:
            return self.signed(self.snapshot, "snapshot")
        for each, targets in self.targets.items():
            if quote(each, "") == role and int(version) == targets.version:
                return self.signed(targets, each)
        return None


class Client:
    """The command under test."""

    def __init__(self, folder: Path, url: str, simulator: Simulator) -> None:
        self.metadata, self.targets = folder / "metadata", folder / "downloads"
        self._url = url
        self._root = folder / "initial.json"
        self._root.write_bytes(simulator.roots[1])
        self.error = ""

    def run(self, *arguments: str | Path) -> int:
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            status = run(list(map(str, arguments)))
        self.error = stderr.getvalue()
        assert len(self.error.splitlines()) == status, self.error
        return status

    def init(self) -> int:
        return self.run("--metadata-dir", self.metadata, "init", self._root)

    def refresh(self) -> int:
        return self.run("--metadata-url", f"{self._url}/metadata", "--metadata-dir", self.metadata, "refresh")

    def download(self, name: str) -> int:
        return self.run(
            *("--metadata-url", f"{self._url}/metadata", "--metadata-dir", self.metadata),
            *("--target-name", name, "--target-dir", self.targets),
            *("--target-base-url", f"{self._url}/targets", "download"),
        )

    def version(self, role: str) -> int:
        metadata: Metadata[Any] = Metadata.from_file(str(self.metadata / f"{role}.json"))
        version: int = metadata.signed.version
        return version

    def downloaded(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.targets.iterdir(), key=lambda path: path.stat().st_mtime_ns)]


@pytest.fixture
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
def url(simulator: Simulator) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = simulator.answer(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def tuf_client(tmp_path: Path, url: str, simulator: Simulator) -> Client:
    made = Client(tmp_path, url, simulator)
    assert made.init() == 0
    assert simulator.requests == []
    return made


@pytest.mark.parametrize(("name", "status"), [("a", 0), ("b", 1)])
def test_the_script_says_by_its_status_how_it_went(
    tuf_client: Client, simulator: Simulator, url: str, name: str, status: int
) -> None:
    simulator.add_target("a", b"content")
    command = [
        *(str(Path(sys.executable).with_name("plasm-tuf-client")), "--metadata-dir", tuf_client.metadata),
        *("--metadata-url", f"{url}/metadata", "--target-name", name),
        *("--target-base-url", f"{url}/targets", "--target-dir", tuf_client.targets, "download"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (status, "", status)


def test_a_refresh_takes_the_top_level_metadata_in_order(tuf_client: Client, simulator: Simulator) -> None:
    assert tuf_client.refresh() == 0
    assert simulator.requests == [
        "/metadata/2.root.json",
        "/metadata/timestamp.json",
        "/metadata/1.snapshot.json",
        "/metadata/1.targets.json",
    ]
    assert [tuf_client.version(role) for role in ("root", "timestamp", "snapshot", "targets")] == [1, 1, 1, 1]


def test_root_rotations_are_followed_and_kept(tuf_client: Client, simulator: Simulator) -> None:
    for version in (2, 3):
        simulator.root.version = version
        simulator.publish_root(["root"])
    simulator.root.version = 4
    old = TufSigner(simulator.keys["root"]).public_key.keyid
    simulator.keys["new"] = FakeSigner(99)
    simulator.root.add_key(TufSigner(simulator.keys["new"]).public_key, "root")
    simulator.root.revoke_key(old, "root")
    simulator.publish_root(["root", "new"])
    assert tuf_client.refresh() == 0
    assert tuf_client.version("root") == 4
    assert tuf_client.refresh() == 0


def test_a_root_without_the_old_keys_signature_is_refused(tuf_client: Client, simulator: Simulator) -> None:
    simulator.root.version = 2
    simulator.publish_root(["timestamp"])
    assert tuf_client.refresh() == 1
    assert tuf_client.version("root") == 1


def test_a_root_threshold_that_one_key_under_two_names_would_meet_is_not_met(
    tuf_client: Client, simulator: Simulator
) -> None:
    simulator.root.version = 2
    simulator.root.roles["root"].threshold = 2
    simulator.publish_root(["root", "root"])
    assert tuf_client.refresh() == 1


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_versions_do_not_go_back(tuf_client: Client, simulator: Simulator, role: str) -> None:
    simulator.update()
    simulator.update()
    assert tuf_client.refresh() == 0
    before = tuf_client.version(role)
    if role == "timestamp":
        simulator.timestamp.version -= 1
    else:
        simulator.timestamp.version += 1
        simulator.snapshot.version -= 1
        simulator.timestamp.snapshot_meta.version -= 1
    assert tuf_client.refresh() == 1
    assert tuf_client.version(role) == before


def test_a_targets_version_does_not_go_back(tuf_client: Client, simulator: Simulator) -> None:
    simulator.targets["targets"].version = 5
    simulator.update()
    assert tuf_client.refresh() == 0
    simulator.targets["targets"].version = 4
    simulator.update()
    assert tuf_client.refresh() == 1
    assert tuf_client.version("targets") == 5


def test_what_versions_are_named_must_be_what_is_served(tuf_client: Client, simulator: Simulator) -> None:
    simulator.snapshot.meta["targets.json"].version = 2
    simulator.replaced["/metadata/2.targets.json"] = simulator.signed(simulator.targets["targets"], "targets")
    assert tuf_client.refresh() == 1
    assert not (tuf_client.metadata / "targets.json").exists()


def test_a_timestamp_with_the_same_version_and_another_content_is_not_kept(
    tuf_client: Client, simulator: Simulator
) -> None:
    assert tuf_client.refresh() == 0
    simulator.timestamp.snapshot_meta.version = 100
    tuf_client.refresh()
    kept: Metadata[Timestamp] = Metadata.from_file(str(tuf_client.metadata / "timestamp.json"))
    assert kept.signed.snapshot_meta.version == 1


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_what_has_expired_is_refused(tuf_client: Client, simulator: Simulator, role: str) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    if role == "root":
        simulator.root.version, simulator.root.expires = 2, past
        simulator.publish_root(["root"])
    else:
        {"timestamp": simulator.timestamp, "snapshot": simulator.snapshot, **simulator.targets}[role].expires = past
    assert tuf_client.refresh() == 1
    assert "expired on 2020-01-01" in tuf_client.error


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_what_another_key_has_signed_is_refused(tuf_client: Client, simulator: Simulator, role: str) -> None:
    simulator.keys[role] = FakeSigner(77)
    assert tuf_client.refresh() == 1


@pytest.mark.parametrize("change", [b"", b"{", b'{"signed": {"_type": "root"}, "signatures": []}'])
def test_an_initial_root_that_is_none_leads_to_no_request(
    tmp_path: Path, url: str, simulator: Simulator, change: bytes
) -> None:
    simulator.roots[1] = change
    broken = Client(tmp_path, url, simulator)
    broken.init()
    assert broken.refresh() == 1
    assert simulator.requests == []


def test_a_target_is_downloaded_once(tuf_client: Client, simulator: Simulator) -> None:
    simulator.add_target("path/to/a/file.txt", b"content")
    assert tuf_client.download("path/to/a/file.txt") == 0
    assert tuf_client.downloaded() == [b"content"]
    assert tuf_client.download("path/to/a/file.txt") == 0
    assert len([path for path in simulator.requests if path.startswith("/targets/")]) == 1


def test_a_target_that_was_exchanged_is_not_taken(tuf_client: Client, simulator: Simulator) -> None:
    simulator.add_target("a", b"content a")
    simulator.add_target("b", b"content b")
    assert tuf_client.download("a") == 0
    for path in simulator.files:
        simulator.files[path] = b"evil data"
    assert tuf_client.download("b") == 1
    assert tuf_client.downloaded() == [b"content a"]
    for path in simulator.files:
        simulator.files[path] = b"much more than was signed"
    assert tuf_client.download("b") == 1


def test_a_changed_target_takes_the_place_of_the_old_one(tuf_client: Client, simulator: Simulator) -> None:
    for content in (b"one", b"two", b"three"):
        simulator.add_target("a", content)
        simulator.targets["targets"].version += 1
        simulator.update()
        assert tuf_client.download("a") == 0
        assert tuf_client.downloaded() == [content]


def test_a_target_that_is_not_signed_is_not_asked_for(tuf_client: Client, simulator: Simulator) -> None:
    assert tuf_client.download("nothing of that name") == 1
    assert simulator.requests[-1] == "/metadata/1.targets.json"


def test_delegations_are_followed(tuf_client: Client, simulator: Simulator) -> None:
    simulator.delegate("one", ["a/*"])
    simulator.delegate("two", ["b/*"])
    simulator.add_target("b/file", b"content", "two")
    simulator.add_target("b/file", b"not one's to say", "one")
    simulator.targets["targets"].version += 1
    simulator.update()
    assert tuf_client.download("b/file") == 0
    assert tuf_client.downloaded() == [b"content"]
    assert "/metadata/1.one.json" not in simulator.requests


@pytest.mark.parametrize("role", ["?", "#", "/delegated", "../delegated", "role with spaces", "rôle"])
def test_roles_with_unusual_names_stay_in_their_folder(tuf_client: Client, simulator: Simulator, role: str) -> None:
    simulator.delegate(role, ["*"])
    simulator.targets["targets"].version += 1
    simulator.update()
    assert tuf_client.download("nothing") == 1
    assert f"/metadata/1.{quote(role, '')}.json" in simulator.requests
    assert len(list(tuf_client.metadata.glob("*.json"))) == 5
    assert {path.name for path in tuf_client.metadata.parent.iterdir()} <= {"metadata", "downloads", "initial.json"}


def test_members_that_are_unknown_are_covered_by_the_signature(tuf_client: Client, simulator: Simulator) -> None:
    simulator.root.version = 2
    simulator.root.unrecognized_fields["custom-field"] = "value"
    simulator.root.roles["root"].unrecognized_fields["another-field"] = {"a": 1}
    simulator.publish_root(["root"])
    assert tuf_client.refresh() == 0
    assert tuf_client.version("root") == 2


@pytest.mark.parametrize("arguments", [[], ["refresh"], ["--metadata-dir", "/nonexistent", "refresh"], ["--x"]])
def test_wrong_usage_is_1_too(tuf_client: Client, arguments: list[str]) -> None:
    assert tuf_client.run(*arguments) == 1
