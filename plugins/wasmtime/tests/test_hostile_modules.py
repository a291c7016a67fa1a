"""Modules that fight their limits get their verdict, and leave a healthy runtime behind."""

from __future__ import annotations

import time
from typing import Any

import pytest
import wasmtime
from plasm_wasmtime.engine import _was_thrown

from plasm.ports import Limits, Verdict

pytestmark = pytest.mark.anyio

MIB = 2**20


ENDINGS: list[tuple[str, dict[str, Any], Verdict]] = [
    ("spin", {"wall_seconds": 0.5}, Verdict.TIMED_OUT),
    ("spin", {"fuel": 100_000}, Verdict.OUT_OF_FUEL),
    ("spin-in-start-section", {"wall_seconds": 0.5}, Verdict.TIMED_OUT),
    ("spin-in-start-section", {"fuel": 100_000}, Verdict.OUT_OF_FUEL),
    ("eat-memory", {"memory_bytes": 64 * MIB}, Verdict.OUT_OF_MEMORY),
    ("grow-at-once", {"memory_bytes": 64 * MIB}, Verdict.OUT_OF_MEMORY),
    ("large-at-the-start", {}, Verdict.OUT_OF_MEMORY),
    ("billion-table", {}, Verdict.OUT_OF_MEMORY),
    ("print-bytes", {"output_bytes": 100_000}, Verdict.OUTPUT_LIMIT),
    ("print-megabytes", {"output_bytes": 10 * MIB}, Verdict.OUTPUT_LIMIT),
    ("sleep", {"wall_seconds": 0.5, "capabilities": frozenset({"clock"})}, Verdict.TIMED_OUT),
    ("fill-a-gigabyte", {"memory_bytes": 1024 * MIB, "wall_seconds": 0.5}, Verdict.TIMED_OUT),
    ("recurse", {}, Verdict.TRAPPED),
    ("call-the-host", {"host_calls": 100_000}, Verdict.HOST_CALL_LIMIT),
    ("trap", {}, Verdict.TRAPPED),
]


@pytest.mark.parametrize("isolation", ["cell", "reused"])
@pytest.mark.parametrize(("name", "given", "verdict"), ENDINGS, ids=[f"{e[0]}-{e[2]}" for e in ENDINGS])
async def test_a_hostile_module_gets_its_verdict_and_the_next_job_works(
    bench: Any, leaves_nothing: Any, isolation: str, name: str, given: dict[str, Any], verdict: Verdict
) -> None:
    with leaves_nothing():
        async with bench.open(isolation=isolation) as runtime:
            started = time.perf_counter()
            outcome = await bench.run(runtime, bench.module(name), **given)
            assert outcome.verdict is verdict, outcome
            assert outcome.exit_code is None
            assert "\n" not in outcome.detail
            assert outcome.detail.isascii()
            assert outcome.detail.isprintable()
            assert outcome.detail
            assert outcome.usage.wall_seconds < given.get("wall_seconds", 20.0) + 1.0
            assert time.perf_counter() - started < 15
            await bench.check_honest(runtime)


@pytest.mark.parametrize(("name", "stream"), [("print-bytes", "stdout"), ("print-megabytes", "stderr")])
async def test_what_fits_within_the_output_limit_is_returned(bench: Any, name: str, stream: str) -> None:
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bench.module(name), output_bytes=1_500_000 if stream == "stderr" else 1234)
        assert outcome.verdict is Verdict.OUTPUT_LIMIT
        assert getattr(outcome, stream) == b"x" * (1_500_000 if stream == "stderr" else 1234)


async def test_an_exception_that_leaves_the_start_section_is_the_trap(bench: Any) -> None:
    module = wasmtime.wat2wasm(
        '(module (tag $t) (memory (export "memory") 1) (func $f (throw $t)) (start $f) (func (export "_start")))'
    )
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bytes(module))
    assert (outcome.verdict, outcome.trap) == (Verdict.TRAPPED, "uncaught_exception")


def test_a_name_that_the_guest_chose_is_no_cause() -> None:
    # The name section holds any text, and the backtrace shows it.
    shown = "error while executing at wasm backtrace:\n    0: 0x3a - m!f\n\nCaused by:\n    thrown Wasm exception\n"
    assert _was_thrown(shown + "\0")
    assert not _was_thrown(shown + "\nCaused by:\n    GC heap out of memory\n\0")


async def test_a_program_that_copes_with_refused_memory_goes_on(bench: Any) -> None:
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bench.module("cope-without-memory"))
        assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, 7)


async def test_the_memory_that_a_program_grew_is_its_peak(bench: Any) -> None:
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bench.module("eat-memory"), memory_bytes=64 * MIB)
        assert outcome.usage.peak_memory_bytes is not None
        assert 62 * MIB < outcome.usage.peak_memory_bytes <= 64 * MIB


async def test_fuel_is_counted_and_ends_at_its_limit(bench: Any) -> None:
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bench.module("spin"), fuel=123_456)
        assert outcome.usage.fuel == 123_456


async def test_exceptions_that_pile_up_stay_within_the_limits(bench: Any, leaves_nothing: Any) -> None:
    with leaves_nothing():
        async with bench.open() as runtime:
            outcome = await bench.run(runtime, bench.module("throw-for-ever"), memory_bytes=32 * MIB, wall_seconds=3.0)
            assert outcome.verdict in (Verdict.TIMED_OUT, Verdict.OUT_OF_MEMORY, Verdict.TRAPPED), outcome
            await bench.check_honest(runtime)


async def test_pointers_outside_the_memory_are_refused_and_touch_nothing(bench: Any) -> None:
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bench.module("bad-pointers"))
        assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, 0), outcome
        assert (outcome.stdout, outcome.stderr) == (b"", b"")


async def test_limits_beyond_any_machine_do_not_break_a_run(bench: Any) -> None:
    async with bench.open() as runtime:
        outcome = await bench.run(
            runtime,
            bench.module("cope-without-memory"),
            fuel=2**80,
            host_calls=2**80,
            wall_seconds=float("inf"),
            output_bytes=Limits().output_bytes,
        )
        assert outcome.verdict is Verdict.EXITED
