"""Jobs of every kind with what must come of them. A case follows from its kind and number, so that none is kept."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wasmtime

from plasm.jobs.conversation import Delivered, Submission
from plasm.jobs.manifest import NONCE_BYTES, Job, Manifest, sha256
from plasm.ports import Verdict

ROOT = Path(__file__).parents[2]
_CUSTOM_SECTION = 0
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

    def problems(self, delivered: Delivered) -> list[str]:
        """In what a verified result is not this job's."""
        predicate = delivered.statement.predicate
        expected: list[tuple[str, object, object]] = [
            ("verdict", predicate.verdict, self.verdict),
            ("exit code", predicate.exit_code, self.exit_code),
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
    """``tests/modules/NAME.wat`` in the binary format, or the example ``hello``."""
    if name == "hello":
        return (ROOT / "examples" / "hello.wasm").read_bytes()
    return bytes(wasmtime.wat2wasm((ROOT / "tests" / "modules" / f"{name}.wat").read_text()))


def never_seen(content: bytes) -> bytes:
    """hello.wasm with `content` (126 bytes at most) in a custom section: the same program under another digest."""
    return module("hello") + bytes([_CUSTOM_SECTION, len(content) + 1, 0]) + content


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
        )
        nonce = hashlib.sha256(f"{self._run} {kind} {number}".encode()).digest()[:NONCE_BYTES]
        submission = Submission(job=job, module=code, stdin=stdin, nonce=nonce)
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
}
"""What makes each kind of case."""

WHILE_KILLED: Mapping[str, float] = {"hello": 6, "arguments": 2, "large": 1, "traps": 1, "spins": 0.5, "no-start": 0.3}
"""Kinds and weights while the node is killed now and then."""

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
}
