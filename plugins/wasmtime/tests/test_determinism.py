"""The same job gives the same bytes; the real clock and real chance are for who asks for them."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest

from plasm.ports import Verdict

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("isolation", ["cell", "reused"])
async def test_the_same_seed_gives_the_same_bytes(bench: Any, isolation: str) -> None:
    outputs = set()
    async with bench.open(isolation=isolation) as runtime:
        for _ in range(3):
            outcome = await bench.run(runtime, bench.module("seeded"), seed=bytes(range(32)))
            assert outcome.reproducible
            outputs.add((outcome.stdout, outcome.usage.fuel))
        other = await bench.run(runtime, bench.module("seeded"), seed=bytes(32))
    assert len(outputs) == 1
    assert other.stdout not in {stdout for stdout, _ in outputs}


async def test_random_and_clock_follow_the_rules_that_are_written_down(bench: Any) -> None:
    seed = bytes(range(32))
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bench.module("seeded"), seed=seed)
    random = hashlib.shake_256(b"plasm random" + seed + bytes(8)).digest(32)
    offset = int.from_bytes(hashlib.shake_256(b"plasm clock" + seed).digest(4), "little") % 631_152_000
    realtime = (946_684_800 + offset) * 10**9 + 1000
    assert outcome.stdout == random + struct.pack("<QQQ", realtime, 2000, 0x7FF8 << 48)


async def test_a_sleep_takes_virtual_time_only(bench: Any) -> None:
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bench.module("sleep"))
        assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, 3)
        assert outcome.usage.wall_seconds < 5


@pytest.mark.parametrize("capability", ["clock", "random"])
async def test_what_is_real_is_not_reproducible_and_says_so(bench: Any, capability: str) -> None:
    async with bench.open() as runtime:
        outcomes = [
            await bench.run(runtime, bench.module("seeded"), capabilities=frozenset({capability})) for _ in range(2)
        ]
    real = slice(32, 48) if capability == "clock" else slice(0, 32)
    assert not any(outcome.reproducible for outcome in outcomes)
    assert outcomes[0].stdout[real] != outcomes[1].stdout[real]


async def test_fuel_of_a_run_is_the_same_in_both_kinds_of_process(bench: Any) -> None:
    used = set()
    for isolation in ("cell", "reused"):
        async with bench.open(isolation=isolation) as runtime:
            used.add((await bench.run(runtime, bench.hello, stdin=b"abc")).usage.fuel)
    assert len(used) == 1
