"""Nodes and command lines in processes of their own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
STOP_SECONDS = 20


def clean_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLASM_")}
    return {**kept, "PLASM_HOME": str(home), "PYTHONUNBUFFERED": "1"}


@dataclass
class Cli:
    """The command line of one home."""

    home: Path
    prefix: list[str] = field(default_factory=list)

    def __call__(
        self, *arguments: str | Path, stdin: bytes = b"", timeout: float = 90, cwd: Path = ROOT
    ) -> subprocess.CompletedProcess[bytes]:
        command = [*self.prefix, sys.executable, "-m", "plasm", *map(str, arguments)]
        return subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout, cwd=cwd, env=clean_environment(self.home)
        )


@dataclass
class RunningNode:
    process: subprocess.Popen[bytes]
    home: Path
    log: Path
    address: str

    @property
    def peer(self) -> str:
        return self.address.rpartition("/")[2]

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_SECONDS) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)


@contextmanager
def running_node(
    home: Path,
    *arguments: str,
    options: tuple[str, ...] = (),
    listen: str | None = "/ip4/127.0.0.1/tcp/0",
    prefix: tuple[str, ...] = (),
    cwd: Path = ROOT,
    log: Path | None = None,
) -> Iterator[RunningNode]:
    """A node in a process of its own, from its ready line until the block ends."""
    log = log or home.parent / f"{home.name}.log"
    command = [*prefix, sys.executable, "-m", "plasm", *options, "start", *arguments]
    if listen is not None:
        command += ["--listen", listen]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd,
            env=clean_environment(home),
        )
    try:
        yield RunningNode(process, home, log, first_address(process, log))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


def first_address(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + START_SECONDS
    received = b""
    while b"\n" not in received:
        ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
        data = os.read(process.stdout.fileno(), 4096) if ready else b""
        assert data, f"the node did not get ready: {log.read_text()}"
        received += data
    word, _, address = received.partition(b"\n")[0].decode().partition(" ")
    assert word == "ready"
    return address
