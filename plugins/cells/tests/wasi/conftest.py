"""Small programs that call the layer: on a buffer for a memory, and as modules in a real engine."""

from __future__ import annotations

import ast
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from plasm_cell import wasi
from plasm_cell.wasi import rights
from plasm_cell.wasi.errors import NAMES

SCRATCH, SUBSCRIPTION, VECTORS, BUFFER, TEXTS, FAR = 0x1000, 0x2000, 0x3000, 0x3100, 0x8000, 0xFFFFFFF0
INPUTS = {"data/in.txt": b"input", "data/sub/deep.txt": b"deep"}
PLACES = {
    "*": (SCRATCH,),
    "far": (FAR,),
    "poll": (SUBSCRIPTION,),
    "iov": (VECTORS, 1),
    "badiov": (VECTORS + 8, 1),
    "manyiov": (VECTORS, 1025),
}
WORDS = {
    **{name: value for name, value in vars(rights).items() if name.isupper()},
    "DIRS": rights.OF_DIRECTORIES,
} | dict(CREAT=1, DIRECTORY=2, EXCL=4, TRUNC=8, FOLLOW=1, APPEND=1, DSYNC=2, NONBLOCK=4, RSYNC=8, SYNC=16)  # noqa: C408


@dataclass
class Step:
    function: str
    arguments: tuple[int, ...]
    times: int = 1
    letters: int = 0
    """Where the four letters stand that differ each time."""


@dataclass
class Script:
    """Calls, the memory in which their arguments stand, and whether it is an event's error that counts at the end."""

    steps: list[Step] = field(default_factory=list)
    memory: bytearray = field(default_factory=lambda: bytearray(TEXTS))
    event: bool = False

    def __post_init__(self) -> None:
        struct.pack_into("<IIII", self.memory, VECTORS, BUFFER, 16, FAR, 16)

    def put(self, text: bytes) -> tuple[int, int]:
        start = len(self.memory)
        self.memory += text + b"\0"
        return start, len(text)

    def add(self, step: str) -> None:
        word, *tokens = step.split()
        times = 1
        if word == "each":
            times, word, tokens = int(tokens[0]), tokens[1], tokens[2:]
        if word == "set16":
            struct.pack_into("<H", self.memory, SUBSCRIPTION + int(tokens[0]), int(tokens[1]))
        elif word == "event":
            self.event = True
        else:
            arguments: list[int] = []
            letters = 0
            for token in tokens:
                if token.startswith('"'):
                    start, length = self.put(text_of(token))
                    letters = start + length - 4
                    arguments += (start, length)
                elif token in PLACES:
                    arguments += PLACES[token]
                else:
                    arguments.append(number_of(token))
            assert len(arguments) == len(wasi.FUNCTIONS[word]), step
            self.steps.append(Step(word, tuple(arguments), times, letters))

    def calls(self, memory: bytearray) -> Iterator[Step]:
        """Each call, with the letters in place in a copy of the memory."""
        for step in self.steps:
            for index in range(step.times):
                if step.times > 1:
                    for place in range(4):
                        memory[step.letters + place] = 97 + (index >> 4 * place & 15)
                yield step

    def text(self) -> str:
        """The module, which exits with the error number of the last call."""
        imports = "\n".join(
            f'(import "{wasi.MODULE}" "{name}" (func ${name} (param {" ".join(map(_type, wasi.FUNCTIONS[name]))})'
            f"{' (result i32)' if name != 'proc_exit' else ''}))"
            for name in sorted({"proc_exit", *(step.function for step in self.steps)})
        )
        *setup, last = self.steps
        result = _call(last)
        if self.event:
            result = f"(i32.load16_u (i32.const {SCRATCH + 8}))"
            setup.append(last)
        body = "\n".join(_checked(step) for step in setup)
        content = "".join(f"\\{byte:02x}" for byte in bytes(self.memory).rstrip(b"\0"))
        return (
            f'(module {imports}\n(memory (export "memory") 2)\n(data (i32.const 0) "{content}")\n'
            f'(func (export "_start") (local $i i32)\n{body}\n(call $proc_exit {result})))'
        )


def _type(kind: str) -> str:
    return "i32" if kind == "i" else "i64"


def _call(step: Step) -> str:
    kinds = wasi.FUNCTIONS[step.function]
    values = " ".join(f"({_type(kind)}.const {value})" for kind, value in zip(kinds, step.arguments, strict=True))
    return f"(call ${step.function} {values})"


def _checked(step: Step) -> str:
    checked = f"(if {_call(step)} (then (call $proc_exit (i32.const 255))))"
    if step.times == 1:
        return checked
    letters = " ".join(
        f"(i32.store8 (i32.const {step.letters + place})"
        f" (i32.add (i32.const 97) (i32.and (i32.const 15) (i32.shr_u (local.get $i) (i32.const {4 * place})))))"
        for place in range(4)
    )
    return (
        f"(local.set $i (i32.const 0)) (loop {letters} {checked}"
        f" (local.set $i (i32.add (local.get $i) (i32.const 1)))"
        f" (br_if 0 (i32.lt_u (local.get $i) (i32.const {step.times}))))"
    )


def text_of(token: str) -> bytes:
    """``"a"*3+"b"`` → ``b"aaab"``."""
    parts = re.findall(r'("(?:[^"\\]|\\.)*")(?:\*(\d+))?\+?', token)
    return b"".join(ast.literal_eval("b" + text) * int(times or 1) for text, times in parts)


def number_of(token: str) -> int:
    if token[0].isdigit():
        return int(token, 0)
    value = 0
    for word in token.split("|"):
        value |= WORDS[word]
    return value


@cache
def read_scripts() -> dict[str, tuple[int, Script]]:
    """Name of each test in ``errors.txt`` → the error number and the program, which nobody changes.

    The tests of ``path_*`` are there once for each function that takes a path, ``NAME[FUNCTION]``.
    """
    numbers = {name: number for number, name in NAMES.items()}
    definitions: dict[str, str] = {}
    calls: dict[str, str] = {}
    found: dict[str, tuple[int, Script]] = {}

    def build(name: str, steps: str) -> None:
        script = Script()
        for step in _expanded(steps, definitions):
            script.add(step)
        assert name not in found, f"{name} is there twice"
        found[name] = numbers[name.partition("[")[0].split(".")[1]], script

    for line in (Path(__file__).parent / "errors.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, steps = line.partition(": ")
        kind, _, word = name.partition(" ")
        if kind == "def":
            definitions[word] = steps
        elif kind == "call":
            calls[word] = steps
        elif name.startswith("path_*"):
            setup, descriptor, path = re.fullmatch(r"(?:(.*); )?FD=(\S+) PATH=(.*)", steps).groups()  # type: ignore[union-attr]
            path = "far 1" if path == "far" else path
            for function, call in calls.items():
                filled = call.replace("FD", descriptor).replace("PATH", path)
                build(f"{name}[{function}]", f"{setup}; {filled}" if setup else filled)
        else:
            build(name, steps)
    return found


def _expanded(steps: str, definitions: dict[str, str]) -> Iterator[str]:
    for step in steps.split("; "):
        if step in definitions:
            yield from _expanded(definitions[step], definitions)
        else:
            yield step


def make_layer(**settings: Any) -> wasi.Wasi:
    settings = {
        "args": [b"module.wasm"],
        "env": [b"A=1"],
        "stdin": b"stdin",
        "output_bytes": 1 << 20,
        "host_calls": 1 << 20,
        "clock": wasi.VirtualClock(bytes(32)),
        "random": wasi.SeededRandom(bytes(32)),
        "inputs": INPUTS,
        "file_bytes": 1000,
        **settings,
    }
    return wasi.Wasi(**settings)


class Program:
    """The layer as a program sees it, with a buffer for a memory: arguments are placed there, results are read back.

    Methods are the functions of preview 1. Texts become pointer and length; what is returned is the error number.
    """

    def __init__(self, **settings: Any) -> None:
        self.layer = make_layer(**settings)
        self.buffer = bytearray(1 << 20)
        self.layer.memory = memoryview(self.buffer)
        self._end = TEXTS

    def __getattr__(self, function: str) -> Callable[..., int]:
        if function not in wasi.FUNCTIONS:
            raise AttributeError(function)
        method = getattr(wasi.Wasi, function)

        def perform(*arguments: int | bytes) -> int:
            self._end = TEXTS
            placed: list[int] = []
            for argument in arguments:
                placed += self.place(argument) if isinstance(argument, bytes) else (argument,)
            assert len(placed) == len(wasi.FUNCTIONS[function])
            return wasi.call(self.layer, method, placed)

        return perform

    def place(self, content: bytes) -> tuple[int, int]:
        start = self._end
        self._end += len(content)
        self.buffer[start : start + len(content)] = content
        return start, len(content)

    def read_back(self, layout: str) -> tuple[Any, ...]:
        """What the last call put at :data:`SCRATCH`."""
        return struct.unpack_from(layout, self.buffer, SCRATCH)

    # --- calls that must succeed, and what they give ------------------------------------------------------------------

    def open(
        self, path: bytes, how: int = 0, base: int = rights.ALL, *, fd: int = 3, follow: int = 1, flags: int = 0
    ) -> int:
        if how & 2 or self.is_directory(fd, path, how):
            base &= ~rights.FD_WRITE
        assert self.path_open(fd, follow, path, how, base, rights.ALL, flags, SCRATCH) == 0
        return int(self.read_back("<I")[0])

    def is_directory(self, fd: int, path: bytes, how: int) -> bool:
        if how & 1:
            return False
        assert self.path_filestat_get(fd, 1, path, SCRATCH) == 0
        return bool(self.read_back("<QQB")[2] == 3)

    def write(self, fd: int, *pieces: bytes, offset: int | None = None) -> tuple[int, int]:
        """The error number, and how much was written."""
        start = VECTORS
        self._end = TEXTS
        for index, piece in enumerate(pieces):
            struct.pack_into("<II", self.buffer, VECTORS + 8 * index, *self.place(piece))
        if offset is None:
            error = wasi.call(self.layer, wasi.Wasi.fd_write, (fd, start, len(pieces), SCRATCH))
        else:
            error = wasi.call(self.layer, wasi.Wasi.fd_pwrite, (fd, start, len(pieces), offset, SCRATCH))
        return error, self.read_back("<I")[0] if error == 0 else 0

    def read(self, fd: int, *sizes: int, offset: int | None = None) -> bytes:
        at = TEXTS
        for index, size in enumerate(sizes):
            struct.pack_into("<II", self.buffer, VECTORS + 8 * index, at, size)
            at += size
        if offset is None:
            assert wasi.call(self.layer, wasi.Wasi.fd_read, (fd, VECTORS, len(sizes), SCRATCH)) == 0
        else:
            assert wasi.call(self.layer, wasi.Wasi.fd_pread, (fd, VECTORS, len(sizes), offset, SCRATCH)) == 0
        return bytes(self.buffer[TEXTS : TEXTS + self.read_back("<I")[0]])

    def stat(self, path: bytes, *, fd: int = 3, follow: int = 0) -> dict[str, int]:
        assert self.path_filestat_get(fd, follow, path, SCRATCH) == 0
        names = ("dev", "ino", "type", "nlink", "size", "atim", "mtim", "ctim")
        return dict(zip(names, self.read_back("<QQB7xQQQQQ"), strict=True))

    def list(self, fd: int, cookie: int = 0, size: int = 65536) -> list[tuple[bytes, int, int]]:
        """Whole entries from `cookie` on: name, type, and the cookie of the next."""
        assert self.fd_readdir(fd, TEXTS, size, cookie, SCRATCH) == 0
        content = bytes(self.buffer[TEXTS : TEXTS + self.read_back("<I")[0]])
        found = []
        while len(content) >= 24:
            following, _, length, kind = struct.unpack_from("<QQIB", content)
            if len(content) < 24 + length:
                break
            found.append((content[24 : 24 + length], kind, following))
            content = content[24 + length :]
        return found

    def create(self, path: bytes, content: bytes = b"") -> None:
        fd = self.open(path, 1)
        assert self.write(fd, content) == (0, len(content))
        assert self.fd_close(fd) == 0


class Engine:
    """wasmtime with the layer's functions defined: no sandbox and no limits, for modules of the tests alone."""

    def __init__(self) -> None:
        self._engine = wasmtime.Engine()
        self._linker = wasmtime.Linker(self._engine)
        self._layer: wasi.Wasi | None = None
        self._memory: wasmtime.Memory | None = None
        for name, kinds in wasi.FUNCTIONS.items():
            self._define(name, kinds)

    def _define(self, name: str, kinds: str) -> None:
        method = getattr(wasi.Wasi, name)
        masks = [(1 << (32 if kind == "i" else 64)) - 1 for kind in kinds]

        def function(caller: wasmtime.Caller, *arguments: int) -> int:
            assert self._layer is not None
            assert self._memory is not None
            if self._memory.data_len(caller) != len(self._layer.memory):
                self._layer.memory = memoryview(self._memory.get_buffer_ptr(caller)).cast("B")
            return wasi.call(self._layer, method, [value & mask for value, mask in zip(arguments, masks, strict=True)])

        kind = wasmtime.FuncType(
            [wasmtime.ValType.i32() if kind == "i" else wasmtime.ValType.i64() for kind in kinds],
            [] if name == "proc_exit" else [wasmtime.ValType.i32()],
        )
        self._linker.define_func(wasi.MODULE, name, kind, function, access_caller=True)

    def run(self, text: str | bytes, layer: wasi.Wasi) -> int:
        """The exit code."""
        store = wasmtime.Store(self._engine)
        instance = self._linker.instantiate(store, wasmtime.Module(self._engine, text))
        exports = instance.exports(store)
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._layer, self._memory = layer, memory
        start = exports["_start"]
        assert isinstance(start, wasmtime.Func)
        try:
            start(store)
        except wasi.Exit as stop:
            return stop.code
        finally:
            layer.memory = memoryview(b"")
        return 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [pytest.param(case, id=name) for name, case in read_scripts().items()])


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine()


@pytest.fixture
def program() -> Program:
    return Program(file_bytes=100_000)


@pytest.fixture
def make_program() -> Callable[..., Program]:
    return Program


@pytest.fixture
def case_names() -> Sequence[str]:
    return sorted({name.partition("[")[0] for name in read_scripts()})
