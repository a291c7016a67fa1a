"""Publishers, what they published when, and processes that serve it."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import plasm_boot.clock as clocks
import pytest
from plasm_finding import BootInfo, serve_boot_info
from plasm_libp2p.dht import open_dht
from plasm_libp2p.hooks import DhtOptions, Libp2pOptions
from plasm_libp2p.transport import open_libp2p
from plasm_mdns.hooks import MdnsOptions, open_mdns
from plasm_trust.keys import did_of
from plasm_trust.repository import Repository
from plasm_trust.settings import Settings, role_settings

from plasm.ports import BootTopic, Signer, Transport
from plasm.testing import FakeSigner, make_scope

HERE = Path(__file__).parent
SCRIPT = HERE / "provider_process.py"
NOW = datetime.now(UTC) - timedelta(seconds=10)

CONTENT = random.Random(7)
KERNEL = CONTENT.randbytes(300_000)
INITRAMFS = CONTENT.randbytes(13 * 2**20 + 5)
"""Of four pieces."""
OLD_KERNEL = CONTENT.randbytes(200_000)


class Publisher:
    """A repository in a folder, all keys of which are at hand: numbers from `first` on."""

    def __init__(self, folder: Path, first: int, now: datetime, channel: str = "stable") -> None:
        self.folder = folder
        self.now = now
        self.keys = dict(zip(("root", "targets", "online", "channel"), range(first, first + 4), strict=True))
        roles = {"root": "root", "targets": "targets", "snapshot": "online", "timestamp": "online"}
        wanted = Settings(
            keys={self.did(key): "" for key in self.keys},
            roles={role: role_settings(role, (self.did(key),)) for role, key in roles.items()},
            channels={channel: role_settings(channel, (self.did("channel"),))},
        )
        with Repository.create(folder, wanted, now):
            pass

    def signer(self, key: str) -> FakeSigner:
        return FakeSigner(self.keys[key])

    def did(self, key: str) -> str:
        return did_of(self.signer(key).public_key)

    @property
    def root(self) -> Path:
        return self.folder / "metadata" / "1.root.json"

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.root.read_bytes()).hexdigest()

    def publish(self, artifacts: dict[str, bytes]) -> None:
        signers = [self.signer(key) for key in self.keys]
        with Repository.open(self.folder, self.now) as repository:
            for path, content in artifacts.items():
                file = self.folder.parent / "content"
                file.write_bytes(content)
                repository.add(path, file, version="6.1", cmdline="quiet" if path.endswith("kernel") else "")
            repository.sign(signers)
            repository.publish(signers)

    def copy(self, name: str) -> Path:
        """What is published now, to be served later."""
        target = self.folder.parent / name
        shutil.copytree(self.folder, target)
        return target


@pytest.fixture(scope="session")
def make_publisher() -> type[Publisher]:
    return Publisher


@dataclass
class Published:
    """One publisher at five times, and another one."""

    publisher: Publisher
    last_month: Path
    """Its timestamp has expired."""
    yesterday: Path
    """Valid, and older than what is published now."""
    today: Path
    renewed: Path
    """The same under a timestamp that was signed after that."""
    stranger: Publisher
    """Another publisher of the same names."""


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("publisher")
    publisher = Publisher(folder / "repository", 10, NOW - timedelta(days=30))
    publisher.publish({"stable/x86_64/kernel": OLD_KERNEL, "stable/x86_64/initramfs": INITRAMFS})
    last_month = publisher.copy("last_month")
    publisher.now = NOW - timedelta(days=1)
    publisher.publish({"stable/arm64/kernel": OLD_KERNEL})
    yesterday = publisher.copy("yesterday")
    publisher.now = NOW
    publisher.publish({"stable/x86_64/kernel": KERNEL})
    today = publisher.copy("today")
    publisher.now = NOW + timedelta(seconds=1)
    publisher.publish({})
    stranger = Publisher(tmp_path_factory.mktemp("stranger") / "repository", 20, NOW)
    stranger.publish({"stable/x86_64/kernel": b"another kernel"})
    return Published(publisher, last_month, yesterday, today, publisher.folder, stranger)


@dataclass
class ProviderProcess:
    """A provider that runs."""

    process: subprocess.Popen[str]
    base_url: str

    @property
    def origin(self) -> str:
        return self.base_url.rstrip("/")

    @property
    def manifest_url(self) -> str:
        return f"{self.base_url}stable/x86_64/manifest.json"

    @property
    def port(self) -> int:
        return int(self.origin.rpartition(":")[2])

    def count(self) -> int:
        """Bytes of artifacts that it has sent."""
        with urllib.request.urlopen(f"{self.base_url}count", timeout=10) as answer:
            return int(answer.read())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


Serve = Callable[..., ProviderProcess]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(FOLDER, BEHAVIOUR…)``: a provider in a process of its own."""
    with ExitStack() as stack:
        yield partial(_serve, stack)


@pytest.fixture(scope="session")
def honest(published: Published) -> Iterator[ProviderProcess]:
    """A provider of what is published now, for all tests."""
    with ExitStack() as stack:
        yield _serve(stack, published.today)


def _serve(stack: ExitStack, folder: Path, *behaviour: str) -> ProviderProcess:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *behaviour], stdout=subprocess.PIPE, text=True
    )
    stack.callback(_end, process)
    assert process.stdout is not None
    return ProviderProcess(process, f"http://127.0.0.1:{int(process.stdout.readline())}/")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@dataclass
class Machine:
    """A machine's home and folder, and its command line."""

    home: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, program: str, *arguments: str | Path, patch: str = "") -> subprocess.Popen[str]:
        """``phase-fetch`` and its like in a process of their own; `patch` is run in it before."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PLASM_")}
        module = program.removeprefix("phase-")
        code = f"{patch}\nfrom plasm_boot.{module} import main\nmain()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**kept, "PLASM_HOME": str(self.home), **self.environment},
        )

    def __call__(self, program: str, *arguments: str | Path, patch: str = "") -> subprocess.CompletedProcess[str]:
        process = self.start(program, *arguments, patch=patch)
        try:
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def json(self, program: str, *arguments: str | Path) -> Any:
        done = self(program, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One that has pinned nothing."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Machine(tmp_path / "home", folder)


@pytest.fixture
def pinned(machine: Machine, published: Published) -> Machine:
    """One that has pinned the publisher's root."""
    from plasm_trust.client import pin

    pin(machine.home / "boot" / "trust", published.publisher.root.read_bytes())
    for folder in (machine.home, machine.home / "boot"):
        folder.chmod(0o700)
    return machine


@pytest.fixture
def contents() -> dict[str, bytes]:
    """What is signed today for stable/x86_64, by name."""
    return {"kernel": KERNEL, "initramfs": INITRAMFS}


@pytest.fixture
def clock() -> Callable[[timedelta], str]:
    """A patch for :class:`Machine`: its clock is off by so much."""

    def clock(off: timedelta) -> str:
        return (
            "import datetime, plasm_boot.clock as c\n"
            f"c.now = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds={off.total_seconds()})"
        )

    return clock


class SameProcess(Machine):
    """The command line in the process of the tests, where a process of its own adds nothing but time."""

    def __call__(self, program: str, *arguments: str | Path, patch: str = "") -> subprocess.CompletedProcess[str]:
        main = importlib.import_module(f"plasm_boot.{program.removeprefix('phase-')}").main
        said, complained = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(said), redirect_stderr(complained):
            patched.setattr(clocks, "now", clocks.now)
            exec(patch, {})
            patched.chdir(self.folder)
            patched.setenv("PLASM_HOME", str(self.home))
            patched.setattr(sys, "argv", [program, *map(str, arguments)])
            with pytest.raises(SystemExit) as leaving:
                main()
        code = leaving.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, said.getvalue(), complained.getvalue())


@pytest.fixture
def same_process(tmp_path: Path) -> SameProcess:
    """One that has pinned nothing, and whose programs run here."""
    folder = tmp_path / "work"
    folder.mkdir()
    return SameProcess(tmp_path / "home", folder)


@asynccontextmanager
async def _announced(channel: str, http_port: int, *, mdns: bool = True, dht: bool = True) -> AsyncIterator[str]:
    topic, info = BootTopic(channel, "x86_64"), BootInfo(http_port=http_port, channels=((channel, "x86_64"),))
    signer = FakeSigner(secrets.randbits(32))
    scope = make_scope(provided={Signer: signer}, listen=("/ip4/127.0.0.1/tcp/0",))
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(open_libp2p(scope, Libp2pOptions()))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        await tasks.start(partial(serve_boot_info, transport, lambda: info))
        if dht:
            records = await stack.enter_async_context(
                open_dht(make_scope(provided={Transport: transport}), DhtOptions())
            )
            await tasks.start(partial(records.advertise, topic, lambda: transport.addresses, {}))
        if mdns:
            link = await stack.enter_async_context(open_mdns(scope, MdnsOptions(interfaces=("lo",))))
            properties = {"http_port": str(http_port), "version": "3"}
            await tasks.start(partial(link.advertise, topic, lambda: transport.addresses, properties))
        try:
            yield transport.addresses[0]
        finally:
            tasks.cancel_scope.cancel()


@pytest.fixture
def announced() -> Callable[..., AbstractAsyncContextManager[str]]:
    """``announced(CHANNEL, HTTP_PORT, mdns=…, dht=…)``: a provider's node, and its address, a way into its DHT."""
    return _announced
