"""Jobs of every kind with what must come of them. A case follows from its kind and number, so that none is kept."""

from __future__ import annotations

import functools
import hashlib
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wasmtime

from plasm.jobs.conversation import Delivered, Submission
from plasm.jobs.manifest import NONCE_BYTES, Job, Manifest, input_files, sha256
from plasm.ports import Verdict

ROOT = Path(__file__).parents[2]
_MODULES = (ROOT / "tests" / "modules", Path(__file__).parent / "modules")
_CUSTOM_SECTION = 0
_FUNCTIONS = 1500
"""So many take the compiler some tenths of a second."""
_LARGEST_IN_A_FRAME = 64 * 1024
"""Larger inputs reach a cell another way."""
_MOST_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job and what must come of it."""

    kind: str
    number: int
    submission: Submission
    verdict: Verdict
    exit_code: int | None = None
    stdout: bytes | None = b""
    """``None`` where it depends on the machine."""
    stderr: bytes | None = b""
    only: bytes | None = None
    """The one byte that output which depends on the machine may consist of."""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def problems(self, delivered: Delivered) -> list[str]:
        """In what a verified result is not this job's."""
        predicate = delivered.statement.predicate
        expected: list[tuple[str, object, object]] = [
            ("verdict", predicate.verdict, self.verdict),
            ("exit code", predicate.exit_code, self.exit_code),
            ("files", dict(delivered.files), dict(self.files)),
        ]
        for name, own, other in (
            ("stdout", self.stdout, delivered.stdout),
            ("stderr", self.stderr, delivered.stderr),
        ):
            if own is not None:
                expected.append((name, other, own))
            elif self.only is not None and other.strip(self.only):
                expected.append((name, other, self.only + b"..."))
        return [f"{what} is {_short(got)}, expected {_short(due)}" for what, got, due in expected if got != due]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text)} characters)"


@functools.cache
def module(name: str) -> bytes:
    """``NAME.wat`` of one of the folders of modules in the binary format, or the example ``hello``."""
    if name == "hello":
        return (ROOT / "examples" / "hello.wasm").read_bytes()
    return bytes(wasmtime.wat2wasm(_text(name)))


@functools.cache
def slow_to_compile() -> bytes:
    """The module ``files`` with many functions that it does not call."""
    whole = _text("files").rstrip()
    functions = "".join(
        "(func (param i64) (result i64) (loop $again"
        f" (local.set 0 (i64.add (i64.rotl (local.get 0) (i64.const {number % 63})) (i64.const {number})))"
        f" (br_if $again (i64.lt_u (local.get 0) (i64.const {7919 * number})))) (local.get 0))"
        for number in range(_FUNCTIONS)
    )
    return bytes(wasmtime.wat2wasm(f"{whole.removesuffix(')')}{functions})"))


def _text(name: str) -> str:
    return next(path for folder in _MODULES if (path := folder / f"{name}.wat").exists()).read_text()


def never_seen(content: bytes, code: bytes | None = None) -> bytes:
    """`code`, or hello.wasm, with `content` (126 bytes at most) in a custom section, for another digest."""
    return (module("hello") if code is None else code) + bytes([_CUSTOM_SECTION, len(content) + 1, 0]) + content


def counted(rounds: int) -> bytes:
    """What the module ``files`` counts in `rounds` steps of Knuth's MMIX generator, from zero."""
    factor, summand, total = 6364136223846793005, 1442695040888963407, 0
    while rounds:
        if rounds & 1:
            total = (factor * total + summand) % 2**64
        factor, summand, rounds = factor * factor % 2**64, (factor + 1) * summand % 2**64, rounds >> 1
    return struct.pack("<Q", total)


class Deck:
    """Makes cases. Two decks of one `run` make the same."""

    def __init__(self, run: str) -> None:
        self._run = run

    def draw(self, weights: Mapping[str, float], number: int) -> Case:
        """The case of that number, of a kind as likely as its weight."""
        kind = self._random("kind", number).choices(list(weights), list(weights.values()))[0]
        return self.case(kind, number)

    def case(self, kind: str, number: int) -> Case:
        """The case of that kind and number."""
        return KINDS[kind](self, kind, number)

    def make(
        self,
        kind: str,
        number: int,
        code: bytes,
        verdict: Verdict,
        *,
        stdin: bytes = b"",
        inputs: Mapping[str, bytes] | None = None,
        args: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, Any] | None = None,
        **expected: Any,
    ) -> Case:
        """A case under a nonce of its own."""
        bounds: dict[str, Any] = {"memory_mb": 64, "timeout_seconds": 30, **(limits or {})}
        job = Job(
            manifest=Manifest(module_hash=sha256(code), **bounds),
            args=args,
            env=dict(env or {}),
            stdin=sha256(stdin),
            inputs=input_files(inputs or {}),
        )
        nonce = hashlib.sha256(f"{self._run} {kind} {number}".encode()).digest()[:NONCE_BYTES]
        submission = Submission(job=job, module=code, stdin=stdin, inputs=dict(inputs or {}), nonce=nonce)
        if verdict is Verdict.EXITED:
            expected.setdefault("exit_code", 0)
        return Case(kind=kind, number=number, submission=submission, verdict=verdict, **expected)

    def _random(self, kind: str, number: int) -> random.Random:
        return random.Random(f"{self._run} {kind} {number}")

    def hello(self, kind: str, number: int) -> Case:
        stdin = b"%s %d" % (self._run.encode(), number)
        return self.make(kind, number, module("hello"), Verdict.EXITED, stdin=stdin, stdout=stdin[::-1])

    def large(self, kind: str, number: int) -> Case:
        source = self._random(kind, number)
        stdin = source.randbytes(source.randrange(70_000, 300_000))
        return self.make(kind, number, module("hello"), Verdict.EXITED, stdin=stdin, stdout=stdin[::-1])

    def arguments(self, kind: str, number: int) -> Case:
        mark = f"{self._run}-{number}"
        return self.make(
            kind,
            number,
            module("arguments"),
            Verdict.EXITED,
            args=("a", mark, "ü€"),
            env={"MARK": mark},
            stdout=f"module.wasm\0a\0{mark}\0ü€\0".encode(),
            stderr=f"MARK={mark}\0".encode(),
        )

    def files(
        self,
        kind: str,
        number: int,
        *,
        ending: bytes = b"e",
        verdict: Verdict = Verdict.EXITED,
        sizes: tuple[int, int] = (0, 5000),
        rounds: tuple[int, int] = (1, 1000),
        code: bytes | None = None,
        **limits: Any,
    ) -> Case:
        """The module ``files``; each byte that it gives follows from the number."""
        source = self._random(kind, number)
        mark = f"{self._run} {kind} {number};".encode()
        data, steps, exit_code = source.randbytes(source.randint(*sizes)), source.randint(*rounds), number % 256
        stdout, files = mark + counted(steps), {"copy": data, "deep/mark": mark}
        if verdict is Verdict.OUTPUT_LIMIT:
            # Where the output is too much, what of it went to files does not come back.
            files = {}
            if ending == b"o":
                most = limits["output_bytes"]
                stdout += (mark * (most // len(mark) + 1))[: most - len(stdout)]
        elif verdict is Verdict.TIMED_OUT:
            stdout, files = b"", {}
        return self.make(
            kind,
            number,
            module("files") if code is None else code,
            verdict,
            stdin=struct.pack("<cBHI", ending, exit_code, 0, steps) + mark,
            # What stands before and after the one that is read must not be taken for it.
            inputs={"before": mark, "in/data": data, "in/further/after": mark[::-1]},
            limits=limits,
            exit_code=exit_code if verdict is Verdict.EXITED else None,
            stdout=stdout,
            files=files,
        )

    def slow(self, kind: str, number: int) -> Case:
        """A module that nobody has seen and that takes long to compile."""
        return self.files(kind, number, code=never_seen(f"{self._run} {number}".encode(), slow_to_compile()))

    def prints(self, kind: str, number: int) -> Case:
        """Megabytes until the limit, which cuts them off where the machine happens to be."""
        limits = {"output_bytes": 1_500_000}
        return self.make(
            kind, number, module("print-megabytes"), Verdict.OUTPUT_LIMIT, limits=limits, stderr=None, only=b"x"
        )

    def fresh(self, kind: str, number: int) -> Case:
        code = never_seen(f"{self._run} {number}".encode())
        stdin = b"fresh %d" % number
        return self.make(kind, number, code, Verdict.EXITED, stdin=stdin, stdout=stdin[::-1])

    def rubbish(self, kind: str, number: int) -> Case:
        code = b"no module %d" % (number % 20)
        return self.make(kind, number, code, Verdict.NOT_RUNNABLE)


def _ends(
    name: str, verdict: Verdict, *, exit_code: int | None = None, **limits: Any
) -> Callable[[Deck, str, int], Case]:
    def build(deck: Deck, kind: str, number: int) -> Case:
        return deck.make(kind, number, module(name), verdict, args=(f"{number}",), limits=limits, exit_code=exit_code)

    return build


def _files(**settings: Any) -> Callable[[Deck, str, int], Case]:
    def build(deck: Deck, kind: str, number: int) -> Case:
        return deck.files(kind, number, **settings)

    return build


KINDS: Mapping[str, Callable[[Deck, str, int], Case]] = {
    "hello": Deck.hello,
    "large": Deck.large,
    "arguments": Deck.arguments,
    "prints": Deck.prints,
    "fresh": Deck.fresh,
    "rubbish": Deck.rubbish,
    "traps": _ends("trap", Verdict.TRAPPED),
    "recurses": _ends("recurse", Verdict.TRAPPED),
    "spins": _ends("spin", Verdict.TIMED_OUT, timeout_seconds=1),
    "sleeps": _ends("sleep", Verdict.TIMED_OUT, timeout_seconds=1, capabilities=("clock",)),
    "dreams": _ends("sleep", Verdict.EXITED, exit_code=3),
    "burns-fuel": _ends("spin", Verdict.OUT_OF_FUEL, fuel=100_000),
    "eats-memory": _ends("eat-memory", Verdict.OUT_OF_MEMORY, memory_mb=32),
    "calls-the-host": _ends("call-the-host", Verdict.HOST_CALL_LIMIT, host_calls=1_000),
    "no-start": _ends("no-start", Verdict.NOT_RUNNABLE),
    "missing-import": _ends("missing-import", Verdict.NOT_RUNNABLE),
    "files": Deck.files,
    "files-large": _files(sizes=(_LARGEST_IN_A_FRAME, 8 * _LARGEST_IN_A_FRAME)),
    "files-works": _files(rounds=(20_000_000, 400_000_000)),
    "files-slow": Deck.slow,
    "files-traps": _files(ending=b"t", verdict=Verdict.TRAPPED),
    "files-memory": _files(ending=b"m", verdict=Verdict.OUT_OF_MEMORY, memory_mb=32),
    "files-fuel": _files(ending=b"s", verdict=Verdict.OUT_OF_FUEL, fuel=1_000_000),
    "files-calls": _files(ending=b"h", verdict=Verdict.HOST_CALL_LIMIT, host_calls=1_000),
    "files-prints": _files(ending=b"o", verdict=Verdict.OUTPUT_LIMIT, output_bytes=100_000),
    "files-full": _files(verdict=Verdict.OUTPUT_LIMIT, sizes=(5000, 9000), output_bytes=4000),
    "files-time": _files(ending=b"s", verdict=Verdict.TIMED_OUT, timeout_seconds=1),
}
"""What makes each kind of case."""

WHILE_KILLED: Mapping[str, float] = {"hello": 6, "arguments": 2, "large": 1, "traps": 1, "spins": 0.5, "no-start": 0.3}
"""Kinds and weights while the node is killed now and then."""

WHILE_CELLS_ARE_KILLED: Mapping[str, float] = {
    "hello": 4,
    "files": 4,
    "files-works": 6,
    "files-slow": 2,
    "files-traps": 1,
    "files-calls": 1,
    "files-large": 1,
    "fresh": 1,
}
"""Kinds and weights while cells are: long runs and long compilations are there to be hit."""

MIXED: Mapping[str, float] = {
    "hello": 20,
    "arguments": 10,
    "large": 5,
    "prints": 1,
    "fresh": 1,
    "rubbish": 1,
    "traps": 5,
    "recurses": 2,
    "spins": 1,
    "sleeps": 1,
    "dreams": 1,
    "burns-fuel": 2,
    "eats-memory": 2,
    "calls-the-host": 2,
    "no-start": 2,
    "missing-import": 2,
    "files": 20,
    "files-large": 3,
    "files-traps": 5,
    "files-memory": 3,
    "files-fuel": 3,
    "files-calls": 3,
    "files-prints": 3,
    "files-full": 3,
    "files-time": 1,
}
