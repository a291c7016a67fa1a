from __future__ import annotations

import hashlib
import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plasm_provider.advertising import Network
from plasm_provider.httpd.limits import Limits
from plasm_provider.provider import Provider, Settings, open_provider
from plasm_provider.sources.repository import SignedRepository
from plasm_provider.sources.source import Source
from plasm_trust import layout
from plasm_trust import settings as trust
from plasm_trust.keys import did_of
from plasm_trust.repository import Repository

from plasm.ports import Signer

LOG = logging.getLogger("plasm.service.provider")
PATIENCE = 20.0
"""Seconds within which whatever is waited for happens, on a machine under load too."""
POLL = 0.05


class Key:
    """A signer in memory."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class Publisher:
    """Signs artifacts in the repository `folder`, with keys that no machine has but this object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.offline: Signer = Key()
        self.online: Signer = Key()
        self.uris: dict[str, str] = {}
        """did:key → URI, of keys that a provider can open."""

    @property
    def root(self) -> bytes:
        return (self.folder / layout.METADATA / "1.root.json").read_bytes()

    def publish(self, files: Mapping[str, bytes], now: datetime | None = None) -> None:
        """Add `files` by target path and publish; channels that are new are made."""
        now = now or datetime.now(UTC)
        channels = {layout.target_path(path).channel for path in files}
        with ExitStack() as stack:
            if (self.folder / trust.FILE).exists():
                repository = stack.enter_context(Repository.open(self.folder, now))
            else:
                repository = stack.enter_context(Repository.create(self.folder, self._settings({}), now))
            known = repository.settings.channels
            if channels - set(known):
                repository.configure(self._settings({*channels, *known}))
                repository.sign([self.offline])
            for path, content in files.items():
                file = self.folder.with_name(f"{self.folder.name}.new")
                file.write_bytes(content)
                repository.add(path, file)
            repository.sign([self.offline])
            repository.publish([self.online])

    def renew(self, now: datetime) -> None:
        with Repository.open(self.folder, now) as repository:
            repository.publish([self.online])

    def _settings(self, channels: object) -> trust.Settings:
        offline, online = did_of(self.offline.public_key), did_of(self.online.public_key)
        roles = {"root": offline, "targets": offline, "snapshot": online, "timestamp": online}
        return trust.Settings(
            keys={offline: "", online: "", **self.uris},
            roles={role: trust.role_settings(role, (did,)) for role, did in roles.items()},
            channels={name: trust.role_settings(name, (offline,)) for name in sorted(channels)},  # type: ignore[call-overload]
        )


@dataclass(frozen=True)
class Answer:
    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass
class Served:
    """A provider that runs in another thread, and a client of it."""

    provider: Provider
    port: int
    host: str = "127.0.0.1"

    def get(self, path: str, fields: Mapping[str, str] | None = None, *, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=dict(fields or {}))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def until(self, path: str, wanted: Callable[[Answer], bool]) -> Answer:
        """The first answer that is `wanted`."""
        deadline = time.monotonic() + PATIENCE
        while not wanted(answer := self.get(path)):
            assert time.monotonic() < deadline, f"{path} still answers {answer.status} {answer.body[:200]!r}"
            time.sleep(POLL / 2)
        return answer

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE)

    def say(self, data: bytes) -> bytes:
        """What a server answers to these bytes, until it closes the connection."""
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal("trio") as portal:
        yield portal


@contextmanager
def serving(
    portal: BlockingPortal,
    source: Source,
    home: Path,
    *,
    limits: Limits | None = None,
    offering: bool = True,
    **settings: object,
) -> Iterator[Served]:
    """A provider of `source`, once it offers what is there."""
    home.mkdir(mode=0o700, exist_ok=True)
    opened = open_provider(
        source,
        Settings(bind="127.0.0.1", port=0, look_seconds=POLL, limits=limits or Limits(), **settings),  # type: ignore[arg-type]
        home=home,
        network=Network(),
        allows=lambda ip: True,
        log=LOG,
    )
    with portal.wrap_async_context_manager(opened) as provider:
        if offering:
            portal.call(provider.offering.wait)
        yield Served(provider, int(provider.urls[0].rstrip("/").rpartition(":")[2]))


@pytest.fixture
def serve(portal: BlockingPortal, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """``serve(source, limits=…)``: a provider of this test's own."""
    with ExitStack() as stack:
        yield lambda source, **options: stack.enter_context(serving(portal, source, tmp_path / "home", **options))


KERNEL = b"kernel " * 40_000
ROOTFS = bytes(range(256)) * 40_000
"""10 MB: more than the buffers of a connection take."""


ARTIFACTS = {"stable/x86_64/kernel": KERNEL, "stable/x86_64/rootfs": ROOTFS}


@pytest.fixture(scope="session")
def served(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A provider of a kernel and a root file system, for all tests that change nothing."""
    folder = tmp_path_factory.mktemp("served")
    publisher = Publisher(folder / "repository")
    publisher.publish(ARTIFACTS)
    (folder / "secret").write_bytes(b"not for anybody")
    (publisher.folder / "secret").write_bytes(b"not for anybody")
    with serving(portal, SignedRepository(publisher.folder, LOG, poll=POLL), folder / "home") as served:
        yield served


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A publisher with a repository of this test's own, of the same artifacts."""
    publisher = Publisher(tmp_path / "repository")
    publisher.publish(ARTIFACTS)
    return publisher


@pytest.fixture
def own(publisher: Publisher, serve: Callable[..., Served]) -> Served:
    """A provider of the repository of `publisher`."""
    return serve(SignedRepository(publisher.folder, LOG, poll=POLL))


@pytest.fixture
def served_with(publisher: Publisher, serve: Callable[..., Served]) -> Callable[..., Served]:
    """``served_with(idle_seconds=1)``: a provider of the repository of `publisher` that has other limits."""
    return lambda **limits: serve(SignedRepository(publisher.folder, LOG, poll=POLL), limits=Limits(**limits))


@pytest.fixture
def downloading() -> Callable[[Served], object]:
    """``with downloading(served):`` an honest client downloads the root file system, which must be whole in the end."""

    @contextmanager
    def downloading(served: Served) -> Iterator[None]:
        answers: list[Answer] = []
        client = threading.Thread(target=lambda: answers.append(served.get("/stable/x86_64/rootfs")))
        client.start()
        yield
        client.join(PATIENCE)
        assert [answer.body == ROOTFS for answer in answers] == [True]

    return downloading
