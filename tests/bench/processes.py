"""Child processes of a measurement: nodes, and children that converse in lines of JSON. Each is stopped by its pid."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

ROOT = Path(__file__).parents[2]
LISTEN = "/ip4/127.0.0.1/tcp/0"
CONFIG = """[node]
slots = 2
trust = "anyone"

[runtime.wasmtime]
isolation = "reused"
slots = 2
"""
START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LONGEST_LINE = 64 * 2**20
_SHOWN_LINES = 5


class ChildFailed(Exception):
    """A child ended or went silent; the message ends with the last that it said."""


@dataclass
class Child:
    """A running child process that writes lines."""

    name: str
    process: Process
    log: Path
    born: float
    """``time.monotonic()`` when it was started, which is one clock for all processes."""

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        self._lines = BufferedByteReceiveStream(self.process.stdout)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self, seconds: float) -> str:
        """Its next line. Raises :exc:`ChildFailed`."""
        try:
            with anyio.fail_after(seconds):
                return (await self._lines.receive_until(b"\n", _LONGEST_LINE)).decode()
        except (anyio.EndOfStream, anyio.IncompleteRead):
            raise self._failed("ended") from None
        except TimeoutError:
            raise self._failed(f"said nothing for {seconds:g} s") from None

    async def reply(self, seconds: float) -> dict[str, Any]:
        """Its next line as JSON. Raises :exc:`ChildFailed`."""
        document: dict[str, Any] = json.loads(await self.line(seconds))
        return document

    async def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Its reply to `request`. Raises :exc:`ChildFailed`."""
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send(json.dumps(request).encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise self._failed("ended") from None
        return await self.reply(seconds)

    async def kill(self) -> None:
        """End it as a power cut would, and wait for that."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Let it end by itself; kill it if it does not."""
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                if self.process.stdin is not None:
                    await self.process.stdin.aclose()
                else:
                    self.process.send_signal(signal.SIGTERM)
            with anyio.move_on_after(_STOP_SECONDS):
                await self.process.wait()
            if self.process.returncode is None:
                await self.kill()
            await self.process.aclose()

    def _failed(self, what: str) -> ChildFailed:
        said = self.log.read_text(errors="replace").strip().splitlines()[-_SHOWN_LINES:]
        return ChildFailed(f"{self.name} (pid {self.pid}) {what}: " + " | ".join(said or ["it said nothing"]))


@contextlib.asynccontextmanager
async def child(
    name: str, folder: Path, arguments: Sequence[str], *, stdin: int = subprocess.PIPE
) -> AsyncIterator[Child]:
    """``python -m`` `arguments` as a child, stopped when the block is left; its stderr goes to `folder`/`name`.log."""
    log = folder / f"{name}.log"
    with log.open("ab") as errors:
        born = time.monotonic()
        process = await anyio.open_process(
            [sys.executable, "-m", *arguments], stdin=stdin, stderr=errors, cwd=ROOT, start_new_session=True
        )
    running = Child(name, process, log, born)
    try:
        yield running
    finally:
        await running.stop()


@dataclass(frozen=True)
class NodeProcess:
    """A node that said it is ready."""

    child: Child
    home: Path
    address: str

    @property
    def peer(self) -> str:
        return self.address.rpartition("/p2p/")[2]


@contextlib.asynccontextmanager
async def node(
    name: str,
    folder: Path,
    *,
    arguments: Sequence[str] = (),
    config: str = "",
    listen: str = LISTEN,
    peers: Sequence[str] = (),
) -> AsyncIterator[NodeProcess]:
    """``plasm start`` on the home `folder`/`name`, ready. Raises :exc:`ChildFailed`."""
    made = home(folder, name)
    (made / "config.toml").write_text(config)
    command = ["plasm", "--home", str(made), *arguments, "start", "--listen", listen]
    for peer in peers:
        command += ["--peer", peer]
    async with child(name, folder, command, stdin=subprocess.DEVNULL) as started:
        word, _, address = (await started.line(START_SECONDS)).strip().partition(" ")
        if word != "ready":
            raise ChildFailed(f"{name} said {word!r} where 'ready' was due")
        yield NodeProcess(started, made, address)


def home(folder: Path, name: str) -> Path:
    """A home in `folder`, made where it is not there."""
    made = folder / name
    made.mkdir(mode=0o700, exist_ok=True)
    return made
