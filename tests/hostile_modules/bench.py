"""The runtime ``wasmtime`` as its driver opens it, for one hostile module after another."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import wasmtime
from anyio.from_thread import BlockingPortal, start_blocking_portal
from plasm_wasmtime.hooks import plasm_runtimes
from plasm_wasmtime.options import WasmtimeOptions

from plasm.ports import NO_ROOM_FOR_FILES, Digest, Invocation, Limits, Outcome, Verdict
from plasm.testing import make_scope
from tests.hostile_modules.leftovers import Household, nothing_left

ROOT = Path(__file__).parents[2]
HELLO = (ROOT / "examples" / "hello.wasm").read_bytes()
GRACE_SECONDS = 1.0
"""What a run may take beyond its wall time."""


@cache
def named(name: str) -> bytes:
    """The module in ``tests/modules/NAME.wat``, in the binary format."""
    return converted((ROOT / "tests" / "modules" / f"{name}.wat").read_text())


@cache
def converted(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


class Bench:
    def __init__(self, portal: BlockingPortal, runtime: Any, home: Path) -> None:
        self._portal = portal
        self._runtime = runtime
        self._check_honest()
        # Two warm parents, and one cell that stands ready.
        self._household = Household((home,), lambda: runtime.pids, 3)

    def prepare(self, module: bytes) -> Digest:
        digest = Digest("sha256:" + hashlib.sha256(module).hexdigest())
        self._portal.call(self._runtime.prepare, digest, module)
        return digest

    def run(self, module: bytes, **given: Any) -> Outcome:
        """Run `module`, see that it ended in time, that nothing was left and that the next job is a healthy one.

        What is no field of an invocation is one of its limits.
        """
        try:
            limits = Limits(**{name: given.pop(name) for name in list(given) if name in Limits.__dataclass_fields__})
            digest = self.prepare(module)
            started = time.perf_counter()
            outcome: Outcome = self._portal.call(self._runtime.run, Invocation(module=digest, limits=limits, **given))
            assert time.perf_counter() - started < limits.wall_seconds + GRACE_SECONDS
            assert outcome.detail.isprintable()
            assert outcome.detail.isascii()
            explained = outcome.verdict is not Verdict.EXITED or outcome.detail == NO_ROOM_FOR_FILES
            assert bool(outcome.detail) == explained
            return outcome
        finally:
            self._check_honest()
            self._household.check()

    def _check_honest(self) -> None:
        digest = self.prepare(HELLO)
        invocation = Invocation(module=digest, stdin=b"olleh", limits=Limits(wall_seconds=20))
        outcome = self._portal.call(self._runtime.run, invocation)
        assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, b"hello"), outcome


@contextmanager
def opened(home: Path, **options: Any) -> Iterator[Bench]:
    (driver,) = plasm_runtimes()
    # A machine of fewer walls still has to hold these.
    given = WasmtimeOptions(**{"slots": 1, "allow_weaker": True, **options})
    with (
        nothing_left(home),
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(driver.open(make_scope(home=home), given)) as runtime,
    ):
        yield Bench(portal, runtime, home)
