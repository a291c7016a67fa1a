"""Modules that want more than they may get their verdict in time, one after another in one healthy runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from plasm.ports import Verdict
from tests.hostile_modules import floods
from tests.hostile_modules.bench import Bench, converted, named, opened

MIB = 1 << 20
CLOCK = frozenset({"clock"})

ENDINGS: dict[str, tuple[str, dict[str, Any], Verdict]] = {
    "spin": ("spin", {"wall_seconds": 0.5}, Verdict.TIMED_OUT),
    "spin with fuel": ("spin", {"fuel": 100_000}, Verdict.OUT_OF_FUEL),
    "a start function that never ends": ("spin-in-start-section", {"wall_seconds": 0.5}, Verdict.TIMED_OUT),
    "a start function with fuel": ("spin-in-start-section", {"fuel": 100_000}, Verdict.OUT_OF_FUEL),
    "memory.grow to the end": ("eat-memory", {"memory_bytes": 64 * MIB}, Verdict.OUT_OF_MEMORY),
    "memory.grow at once": ("grow-at-once", {"memory_bytes": 64 * MIB}, Verdict.OUT_OF_MEMORY),
    "memory from the start": ("large-at-the-start", {}, Verdict.OUT_OF_MEMORY),
    "memory.fill of 1 GiB": ("fill-a-gigabyte", {"memory_bytes": 1024 * MIB, "wall_seconds": 0.5}, Verdict.TIMED_OUT),
    "a table of a billion": ("billion-table", {}, Verdict.OUT_OF_MEMORY),
    "deep recursion": ("recurse", {}, Verdict.TRAPPED),
    "output by bytes": ("print-bytes", {"output_bytes": 200_000}, Verdict.OUTPUT_LIMIT),
    "output by megabytes": ("print-megabytes", {"output_bytes": 10 * MIB}, Verdict.OUTPUT_LIMIT),
    "host calls": ("call-the-host", {"host_calls": 100_000}, Verdict.HOST_CALL_LIMIT),
    "host calls by time": ("call-the-host", {"wall_seconds": 0.5}, Verdict.TIMED_OUT),
    "a sleep of 30 s": ("sleep", {"wall_seconds": 0.5, "capabilities": CLOCK}, Verdict.TIMED_OUT),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with opened(tmp_path_factory.mktemp("home")) as bench:
        yield bench


@pytest.mark.parametrize(("name", "given", "verdict"), ENDINGS.values(), ids=ENDINGS)
def test_it_ends_in_time_and_with_its_verdict(bench: Bench, name: str, given: dict[str, Any], verdict: Verdict) -> None:
    outcome = bench.run(named(name), **{"wall_seconds": 10.0, **given})
    assert (outcome.verdict, outcome.exit_code) == (verdict, None)


def test_a_sleep_on_the_virtual_clock_takes_no_time(bench: Bench) -> None:
    outcome = bench.run(named("sleep"), wall_seconds=10.0)
    assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, 3)


@pytest.mark.parametrize(("text", "numbers"), floods.UNTIL_REFUSED.values(), ids=floods.UNTIL_REFUSED)
def test_files_and_buffers_without_end_are_refused(bench: Bench, text: str, numbers: set[int]) -> None:
    outcome = bench.run(converted(text), wall_seconds=20.0, file_bytes=4 * MIB)
    assert outcome.verdict is Verdict.EXITED, outcome
    assert outcome.exit_code in numbers


@pytest.mark.parametrize("text", floods.FOR_EVER.values(), ids=floods.FOR_EVER)
def test_a_flood_for_ever_ends_at_its_host_calls(bench: Bench, text: str) -> None:
    outcome = bench.run(converted(text), wall_seconds=20.0, host_calls=10_000, file_bytes=4 * MIB)
    assert outcome.verdict is Verdict.HOST_CALL_LIMIT, outcome


@pytest.mark.parametrize("text", floods.FOR_EVER.values(), ids=floods.FOR_EVER)
def test_a_flood_for_ever_ends_at_its_wall_time(bench: Bench, text: str) -> None:
    outcome = bench.run(converted(text), wall_seconds=0.3, file_bytes=4 * MIB)
    assert outcome.verdict is Verdict.TIMED_OUT, outcome


def test_gigabytes_in_one_call_are_cut_at_the_output_limit(bench: Bench) -> None:
    outcome = bench.run(converted(floods.OUTPUT_BY_VECTORS), wall_seconds=10.0, output_bytes=MIB)
    assert outcome.verdict is Verdict.OUTPUT_LIMIT
    assert len(outcome.stdout) <= MIB
