"""Processes that run programs, one for each engine, and what they say."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import plasm_cell
import plasm_wasm3
import plasm_wasmer
import plasm_wasmtime

from .programs import Program

_HERE: Final = Path(__file__).parent
_SECONDS: Final = 60.0
"""For one program, on a machine with much else to do. Each ends by itself within milliseconds."""

_MOST_BATCHES: Final = 200
"""For one process: wasmer never unmaps code that it has loaded, and the kernel bounds how much a process maps.

A cell loads a few modules and ends, so that no node meets that."""

_PATIENCE_SECONDS: Final = 5.0
"""For a voice to end once it has nothing more to read."""

Told = Mapping[str, Any]
"""What one engine says of one program: see :func:`tests.engines.generated.voice.run`."""


@dataclass(frozen=True)
class Kind:
    """How a voice is started."""

    name: str
    command: tuple[str, ...]
    paths: tuple[Path, ...]


def _source(package: Any) -> Path:
    return Path(package.__file__).parent.parent


WASMTIME: Final = Kind("wasmtime", (sys.executable,), (_source(plasm_wasmtime),))
WASM3: Final = Kind("wasm3", (sys.executable,), (_source(plasm_wasm3),))


def wasmer(interpreter: str, packages: Path) -> Kind:
    """The engine that is installed in `packages` for `interpreter`."""
    return Kind("wasmer", (interpreter,), (_source(plasm_wasmer), packages))


class Voice:
    """One process, which is started anew where a program ends it."""

    def __init__(self, kind: Kind) -> None:
        self.name = kind.name
        self._kind = kind
        self._process: subprocess.Popen[bytes] | None = None
        self._path = ""
        self._batches = 0
        self._said = bytearray()

    def begin(self, path: str, first: int = 0) -> None:
        """Have it run the programs of the batch in the file `path`."""
        if self._batches >= _MOST_BATCHES:
            self.end()
        process = self._process or self._start()
        self._path = path
        self._batches += 1
        assert process.stdin is not None
        process.stdin.write(json.dumps({"path": path, "first": first}).encode() + b"\n")
        process.stdin.flush()

    def answers(self, count: int) -> Iterator[Told]:
        """For each program of the batch that was begun last."""
        for number in range(count):
            line = self._line()
            if line is not None:
                yield json.loads(line)
                continue
            yield {"": {"died": self.end()}}
            if number + 1 < count:
                self.begin(self._path, number + 1)

    def end(self) -> str:
        """How it ended; it is killed where it goes on."""
        process, self._process = self._process, None
        if process is None:
            return ""
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_SECONDS)
        hung = process.poll() is None
        process.kill()
        process.wait()
        process.stdout.close()
        self._said.clear()
        return "it did not end" if hung else f"code {process.returncode}"

    def _start(self) -> subprocess.Popen[bytes]:
        paths = (*self._kind.paths, _source(plasm_cell))
        self._batches = 0
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        self._process = subprocess.Popen(
            [*self._kind.command, str(_HERE / "voice.py"), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        return self._process

    def _line(self) -> bytes | None:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while (end := self._said.find(b"\n")) < 0:
            if not select.select([descriptor], [], [], _SECONDS)[0]:
                return None
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return None
            self._said += piece
        line = bytes(self._said[:end])
        del self._said[: end + 1]
        return line


class Panel:
    """Voices that are asked about the same programs."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.voices = [Voice(kind) for kind in kinds]
        self._folder = tempfile.TemporaryDirectory(prefix="plasm-generated-")

    def __enter__(self) -> Panel:
        return self

    def __exit__(self, *_: object) -> None:
        for voice in self.voices:
            voice.end()
        self._folder.cleanup()

    def ask(self, programs: Sequence[Program], *, whole: bool = False) -> list[dict[str, Told]]:
        """What each engine says of each program, by its name."""
        path = Path(self._folder.name) / "batch"
        path.write_bytes(b"".join(_job(program, whole=whole) for program in programs))
        for voice in self.voices:
            voice.begin(str(path))
        answers = [list(voice.answers(len(programs))) for voice in self.voices]
        return [
            {voice.name: told[number] for voice, told in zip(self.voices, answers, strict=True)}
            for number in range(len(programs))
        ]


def _job(program: Program, *, whole: bool) -> bytes:
    module = program.module.encoded()
    job = {
        "module_bytes": len(module),
        "memory_bytes": program.memory_bytes,
        "output_bytes": program.output_bytes,
        "host_calls": program.host_calls,
        "file_bytes": 1 << 20,
        "wall_seconds": _SECONDS,
        "fuel": None,
        "last": False,
        "seed": "07" * 32,
        "capabilities": [],
        "args": [],
        "env": {},
        "inputs": [],
        "stdin_bytes": 0,
        "whole": whole,
    }
    return json.dumps(job).encode() + b"\n" + module
