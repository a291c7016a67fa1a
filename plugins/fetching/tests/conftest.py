from __future__ import annotations

import contextlib
import hashlib
import random
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from plasm_fetching.artifact import Artifact

SERVER = Path(__file__).with_name("misbehaving.py")
PIECE = 32 * 1024


@dataclass
class Provider:
    """A provider in a process of its own."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/stable/x86_64/kernel"

    @property
    def sent(self) -> int:
        """Bytes of the artifact that it has sent."""
        with urllib.request.urlopen(f"{self.origin}/count", timeout=10) as answer:
            return int(answer.read())


Provide = Callable[..., Provider]


@pytest.fixture
def provide() -> Iterator[Provide]:
    """Starts providers of a file that behave as they are told; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(file: Path, *behaviour: str) -> Provider:
            process = subprocess.Popen([sys.executable, str(SERVER), str(file), *behaviour], stdout=subprocess.PIPE)
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            return Provider(process, int(process.stdout.readline()))

        yield start


def artifact_of(data: bytes, *, piece_bytes: int = PIECE, pieces: bool = True) -> Artifact:
    cut = [data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes)]
    return Artifact(
        path="stable/x86_64/kernel",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        pieces=tuple(hashlib.sha256(piece).hexdigest() for piece in cut) if pieces else (),
        piece_bytes=piece_bytes,
    )


@pytest.fixture
def data() -> bytes:
    """Forty pieces, the last of which is shorter."""
    return random.Random(1).randbytes(39 * PIECE + 1000)


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "served"
    path.write_bytes(data)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "kernel"
