"""How a runtime must hold a module to its limits."""

from __future__ import annotations

import pytest

from plasm.ports import Limits, Verdict
from plasm.testing import modules
from plasm.testing.suites.runs import MakeRuntime, RunChecks

_MIB = 2**20


class LimitChecks(RunChecks):
    """How a runtime must hold a module to its limits."""

    async def test_a_spinning_module_times_out(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            outcome = await self.run(runtime, modules.SPIN, limits=Limits(wall_seconds=0.5))
            assert outcome.verdict is Verdict.TIMED_OUT, f"wall_seconds is a limit: timed_out, not {outcome.verdict}"
            assert outcome.usage.wall_seconds >= 0.4, "wall_seconds is what the run took"
            await self.check_healthy(runtime, "a module that spun")

    async def test_a_sleeping_module_ends(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            outcome = await self.run(runtime, modules.SLEEP, limits=Limits(wall_seconds=0.5))
            # On a virtual clock an hour is over at once.
            assert outcome.verdict in (Verdict.TIMED_OUT, Verdict.EXITED), (
                f"a module that sleeps is held to wall_seconds: timed_out, not {outcome.verdict} {outcome.detail!r}"
            )
            await self.check_healthy(runtime, "a module that slept")

    async def test_fuel_is_a_limit(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            if (await self.run(runtime, modules.RETURNS)).usage.fuel is None:
                pytest.skip("this engine does not count fuel")
            limits = Limits(fuel=100_000, wall_seconds=self.patience)
            outcome = await self.run(runtime, modules.SPIN, limits=limits)
            assert outcome.verdict is Verdict.OUT_OF_FUEL, f"fuel is a limit: out_of_fuel, not {outcome.verdict}"
            await self.check_healthy(runtime, "a module that used up its fuel")

    @pytest.mark.parametrize("allowed", [4 * _MIB, 64 * _MIB])
    async def test_a_module_gets_no_more_memory_than_it_may(self, make: MakeRuntime, allowed: int) -> None:
        async with make() as runtime:
            limits = Limits(memory_bytes=allowed, wall_seconds=self.patience)
            outcome = await self.run(runtime, modules.GROW, limits=limits)
            # The port leaves open whether growing fails or ends the run.
            if outcome.verdict is Verdict.EXITED:
                got = int.from_bytes(outcome.stdout, "little") * 65536
                assert got <= allowed, f"memory_bytes is a limit: the program grew to {got} of {allowed} bytes"
                assert got >= allowed // 2, f"a program gets the memory that it may use: {got} of {allowed} bytes"
            else:
                assert outcome.verdict is Verdict.OUT_OF_MEMORY, f"not {outcome.verdict} {outcome.detail!r}"
            await self.check_healthy(runtime, "a module that ate memory")

    async def test_a_module_that_declares_too_much_memory_is_out_of_memory(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            limits = Limits(memory_bytes=16 * _MIB, wall_seconds=self.patience)
            outcome = await self.run(runtime, modules.HUNGRY, limits=limits)
            assert outcome.verdict is Verdict.OUT_OF_MEMORY, (
                f"a module that needs 512 MiB where 16 are allowed is out_of_memory, not {outcome.verdict}"
            )
            await self.check_healthy(runtime, "a module that declared too much memory")

    async def test_a_flood_of_output_ends_at_the_limit(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            limits = Limits(output_bytes=100_000, wall_seconds=self.patience)
            outcome = await self.run(runtime, modules.FLOOD, limits=limits)
            assert outcome.verdict is Verdict.OUTPUT_LIMIT, (
                f"output_bytes is a limit of stdout and stderr together: output_limit, not {outcome.verdict}"
            )
            await self.check_healthy(runtime, "a flood of output")

    async def test_the_output_limit_is_what_may_be_written(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            whole = await self.run(runtime, modules.ECHO, stdin=b"x" * 5000, limits=self._output(5000))
            assert whole.verdict is Verdict.EXITED, "as many bytes as output_bytes may be written"
            assert len(whole.stdout) == 5000, "as many bytes as output_bytes may be written"
            less = await self.run(runtime, modules.ECHO, stdin=b"x" * 5000, limits=self._output(4999))
            assert less.verdict is Verdict.OUTPUT_LIMIT, "one byte more than output_bytes is output_limit"

    def _output(self, size: int) -> Limits:
        return Limits(output_bytes=size, wall_seconds=self.patience)

    async def test_host_calls_are_counted(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            limits = Limits(host_calls=1000, wall_seconds=self.patience)
            outcome = await self.run(runtime, modules.CHATTER, limits=limits)
            assert outcome.verdict is Verdict.HOST_CALL_LIMIT, (
                f"host_calls is a limit: host_call_limit, not {outcome.verdict}"
            )
            await self.check_healthy(runtime, "a module that called the host without end")
