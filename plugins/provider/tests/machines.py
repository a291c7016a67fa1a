"""Providers and commands in processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.02
"""Between two looks: whoever asks too often is refused."""


@dataclass
class Machine:
    """A home, and what is called on it."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PLASM_")}
        return {**kept, "PLASM_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """``machine("provider", "status")`` calls plasm, ``machine("phase-fetch", …)`` the program."""
        words = [str(each) for each in arguments]
        program = [str(Path(sys.executable).with_name(words[0]))] if words[0].startswith("phase-") else []
        command = [*program, *words[1:]] if program else [sys.executable, "-m", "plasm", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=self.environment)

    @contextlib.contextmanager
    def provides(self, *arguments: object, advertises: bool = False) -> Iterator[Running]:
        """``plasm`` with `arguments` on loopback and a free port, once it says that it is ready; ended in the end."""
        words = [*map(str, arguments), "--bind", "127.0.0.1", "--port", "0"]
        words += [] if advertises else ["--no-dht", "--no-mdns"]
        process = subprocess.Popen(
            [sys.executable, "-m", "plasm", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        watchdog = threading.Timer(READY_SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            watchdog.cancel()
            assert line.startswith(("ready http://127.0.0.1:", "{")), line
            yield Running(process, line)
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()


@dataclass
class Running:
    """A provider that is ready."""

    process: subprocess.Popen[str]
    first_line: str
    """Of stdout."""

    @property
    def url(self) -> str:
        return self.first_line.split()[1]

    def get(self, path: str) -> bytes:
        with urlopen(self.url + path, timeout=20) as answer:
            return bytes(answer.read())

    def until(self, path: str, content: bytes) -> None:
        """Return when it serves `content` under `path`."""
        deadline = time.monotonic() + READY_SECONDS
        while (found := self.get(path)) != content:
            assert time.monotonic() < deadline, f"{path} is still {found[:100]!r}"
            time.sleep(LOOK_SECONDS)

    def stop(self) -> tuple[int, str]:
        """End it as its user would: its exit code, and all that it said on stderr."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, said
