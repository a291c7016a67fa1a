from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from plasm_fetching.http import Absent, TooMuch
from plasm_trust.client import TrustClient, pin
from plasm_trust.keys import TufSigner, did_of
from plasm_trust.published import Published
from plasm_trust.repository import Repository
from plasm_trust.settings import Settings, role_settings
from securesystemslib.formats import encode_canonical

from plasm.testing import FakeSigner

# How long an example takes is the machine's doing; which examples are tried is the same on each one.
settings.register_profile("plasm", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plasm")

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROOT, TARGETS, ONLINE, STABLE, BETA = 1, 2, 3, 4, 5
"""Numbers of the keys that a publisher begins with."""
BASE = "http://provider.test/"


class Publisher:
    """A repository, all keys of which are at hand; its clock stands until it is set."""

    def __init__(self, folder: Path, roles: Mapping[str, tuple[int, ...]], root_threshold: int = 1) -> None:
        self.folder = folder
        self.now = BEGIN
        self.held = {number for numbers in roles.values() for number in numbers}
        dids = {name: tuple(map(self.did, numbers)) for name, numbers in roles.items()}
        wanted = Settings(
            keys={did: "" for own in dids.values() for did in own},
            roles={
                name: role_settings(name, dids[key], root_threshold if name == "root" else 1)
                for name, key in {
                    "root": "root",
                    "targets": "targets",
                    "snapshot": "online",
                    "timestamp": "online",
                }.items()
            },
            channels={name: role_settings(name, dids[name]) for name in roles.keys() - {"root", "targets", "online"}},
        )
        with Repository.create(folder, wanted, self.now):
            pass

    @staticmethod
    def did(number: int) -> str:
        return did_of(FakeSigner(number).public_key)

    @property
    def signers(self) -> list[FakeSigner]:
        return [FakeSigner(number) for number in sorted(self.held)]

    def open(self) -> AbstractContextManager[Repository]:
        return Repository.open(self.folder, self.now)

    def publish(self, artifacts: Mapping[str, bytes] | None = None, removed: Iterable[str] = ()) -> Published:
        """Sign and publish all that is staged, with `artifacts` in it."""
        with self.open() as repository:
            for path, content in (artifacts or {}).items():
                file = self.folder.parent / "content"
                file.write_bytes(content)
                repository.add(path, file, version="6.1", cmdline="quiet" if path.endswith("kernel") else "")
            for path in removed:
                repository.remove(path)
            repository.sign(self.signers)
            repository.publish(self.signers)
        return Published.load(self.folder)

    def configure(self, change: Callable[[Settings], Settings]) -> None:
        with self.open() as repository:
            repository.configure(change(repository.settings))

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)


class Provider:
    """What somebody serves, which need not be what was published; every request is noted."""

    def __init__(self, published: Published) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.serve(published)

    def serve(self, published: Published) -> None:
        """Serve what `published` holds, and nothing else."""
        self.files = {f"metadata/{name}": data for name, data in published.metadata.items()}
        for (channel, arch), data in published.manifests.items():
            self.files[f"{channel}/{arch}/manifest.json"] = data

    def read(self, url: str, max_bytes: int) -> bytes:
        path = url.removeprefix(BASE)
        self.requests.append(path)
        if path not in self.files:
            raise Absent(f"{url} is not there")
        data = self.files[path]
        if len(data) > max_bytes:
            raise TooMuch(f"{url} has more than {max_bytes} bytes")
        return data

    def edit(
        self,
        name: str,
        change: Callable[[dict[str, Any]], None] = lambda signed: None,
        *,
        signed_by: Iterable[int],
        under: str | None = None,
    ) -> bytes:
        """Change what a metadata file says, and sign it with other keys; served under the name `under` too."""
        signed = json.loads(self.files[f"metadata/{name}"])["signed"]
        change(signed)
        # Not by way of the library's classes: what is signed here may be what they refuse.
        covered = encode_canonical(signed).encode()
        signatures = [TufSigner(FakeSigner(number)).sign(covered).to_dict() for number in signed_by]
        data = json.dumps({"signatures": signatures, "signed": signed}).encode()
        self.files[f"metadata/{under or name}"] = data
        return data


class Client:
    """A client that has pinned a root, and its clock."""

    def __init__(self, folder: Path, root: bytes, read: Callable[[str, int], bytes]) -> None:
        self.folder = folder
        self.now = BEGIN
        self.build_time: datetime | None = None
        self.read = read
        self.fingerprint = pin(folder, root)
        self.trust = self.restarted()

    def restarted(self) -> TrustClient:
        """The client in a new process."""
        self.trust = TrustClient(self.folder, self.read, now=lambda: self.now, build_time=self.build_time)
        return self.trust

    def refresh(self) -> TrustClient:
        self.restarted().refresh(BASE)
        return self.trust


@pytest.fixture
def begin() -> datetime:
    return BEGIN


@pytest.fixture
def base() -> str:
    return BASE


@pytest.fixture
def make_publisher(tmp_path: Path) -> Callable[..., Publisher]:
    def make(name: str = "repository", *, root: tuple[int, ...] = (ROOT,), threshold: int = 1) -> Publisher:
        roles = {"root": root, "targets": (TARGETS,), "online": (ONLINE,), "stable": (STABLE,), "beta": (BETA,)}
        return Publisher(tmp_path / name, roles, threshold)

    return make


@pytest.fixture
def publisher(make_publisher: Callable[..., Publisher]) -> Publisher:
    """With a kernel in stable, published."""
    made = make_publisher()
    made.publish({"stable/x86_64/kernel": b"a kernel", "beta/arm64/kernel": b"a new kernel"})
    return made


@pytest.fixture
def provider(publisher: Publisher) -> Provider:
    """Serves what `publisher` has published."""
    return Provider(Published.load(publisher.folder))


@pytest.fixture
def make_client(tmp_path: Path, publisher: Publisher, provider: Provider) -> Callable[..., Client]:
    root = (publisher.folder / "metadata" / "1.root.json").read_bytes()

    def make(name: str = "client") -> Client:
        return Client(tmp_path / name, root, provider.read)

    return make


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()
