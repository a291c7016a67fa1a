"""Fuel is counted unless the operator wants none, and the receipt's configuration says which it was."""

from __future__ import annotations

from typing import Any

import pytest

from plasm.ports import RuntimeFailed, Verdict

pytestmark = pytest.mark.anyio


async def test_without_fuel_a_program_ends_in_the_same_way_and_nothing_is_counted(bench: Any) -> None:
    async with bench.open(slots=1) as counting, bench.open(slots=1, count_fuel=False) as uncounting:
        for module in (bench.hello, bench.module("trap"), bench.module("arguments")):
            counted = await bench.run(counting, module, stdin=b"abc")
            uncounted = await bench.run(uncounting, module, stdin=b"abc")
            assert counted.usage.fuel is not None
            assert uncounted.usage.fuel is None
            assert counted.verdict in (Verdict.EXITED, Verdict.TRAPPED)
            for aspect in ("verdict", "exit_code", "trap", "stdout", "stderr", "files"):
                assert getattr(counted, aspect) == getattr(uncounted, aspect)


async def test_the_configuration_says_it_so_no_compiled_module_is_taken_for_the_others(bench: Any) -> None:
    async with bench.open(slots=1) as counting, bench.open(slots=1, count_fuel=False) as uncounting:
        assert counting.engine.configuration["consume_fuel"] is True
        assert uncounting.engine.configuration["consume_fuel"] is False
        # Of a module of its own, since both keep theirs in one home.
        module = bench.hello + b"\0\4\3not"
        await counting.prepare(bench.digest(module), module)
        assert counting.prepared(bench.digest(module))
        assert not uncounting.prepared(bench.digest(module))


async def test_without_fuel_a_job_that_limits_it_is_refused_and_wall_time_still_holds(bench: Any) -> None:
    async with bench.open(slots=1, count_fuel=False) as runtime:
        with pytest.raises(RuntimeFailed, match="counts no fuel"):
            await bench.run(runtime, bench.hello, fuel=1_000_000)
        outcome = await bench.run(runtime, bench.module("spin"), wall_seconds=0.3)
        assert outcome.verdict is Verdict.TIMED_OUT
        await bench.check_honest(runtime)
