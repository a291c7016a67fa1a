"""Runtimes that break one promise each; RuntimeSuite must notice."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import anyio
import pytest

from plasm.ports import NotRunnable, Outcome, RuntimeFailed, Verdict
from plasm.testing import RuntimeSuite, ScriptedRuntime, modules
from plasm.testing.fakes.scripts import exits, module_scripts

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One back end is enough: what is tried here is the suite."""
    return "trio"


class Scripted(ScriptedRuntime):
    def __init__(self) -> None:
        super().__init__(module_scripts())

    async def run_limited(self, invocation, **limits):
        return await super().run(
            dataclasses.replace(invocation, limits=dataclasses.replace(invocation.limits, **limits))
        )


class IgnoresMemory(Scripted):
    async def run(self, invocation):
        return await self.run_limited(invocation, memory_bytes=2**30)


class IgnoresTime(Scripted):
    async def run(self, invocation):
        return await self.run_limited(invocation, wall_seconds=60.0)


class IgnoresFuel(Scripted):
    async def run(self, invocation):
        return await self.run_limited(invocation, fuel=None)


class IgnoresHostCalls(Scripted):
    async def run(self, invocation):
        return await self.run_limited(invocation, host_calls=2**40)


class IgnoresOutput(Scripted):
    async def run(self, invocation):
        return await self.run_limited(invocation, output_bytes=2**22)


class AllowsAPageMore(Scripted):
    async def run(self, invocation):
        return await self.run_limited(invocation, memory_bytes=invocation.limits.memory_bytes + 65536)


class LimitsEachOutputByItself(Scripted):
    async def run(self, invocation):
        allowed = invocation.limits.output_bytes
        outcome = await self.run_limited(invocation, output_bytes=allowed * 2)
        return dataclasses.replace(outcome, stdout=outcome.stdout[:allowed], stderr=outcome.stderr[:allowed])


class CutsOutputInSilence(Scripted):
    async def run(self, invocation):
        outcome = await super().run(invocation)
        if outcome.verdict is Verdict.OUTPUT_LIMIT:
            return dataclasses.replace(outcome, verdict=Verdict.EXITED, exit_code=0)
        return outcome


class OutlivesCancellation(Scripted):
    async def run(self, invocation):
        with anyio.move_on_after(1.5, shield=True):
            return await super().run(invocation)
        await anyio.lowlevel.checkpoint()
        raise RuntimeFailed("it was late")


class MixesOutputs(Scripted):
    async def run(self, invocation):
        self.stdin = invocation.stdin
        await anyio.sleep(0.01)
        return await super().run(dataclasses.replace(invocation, stdin=self.stdin))


class OneAtATime(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.turn = anyio.Lock()

    async def run(self, invocation):
        async with self.turn:
            return await super().run(invocation)


class RollsRealDice(Scripted):
    async def run(self, invocation):
        outcome = await super().run(dataclasses.replace(invocation, capabilities=frozenset({"random", "clock"})))
        return dataclasses.replace(outcome, reproducible=True)


class HasOneSeed(Scripted):
    async def run(self, invocation):
        return await super().run(dataclasses.replace(invocation, seed=bytes(32)))


class SeedsByItself(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.seed = os.urandom(32)

    async def run(self, invocation):
        return await super().run(dataclasses.replace(invocation, seed=self.seed))


class KnowsNoCapabilities(Scripted):
    async def run(self, invocation):
        return await super().run(dataclasses.replace(invocation, capabilities=frozenset()))


class CallsChanceReproducible(Scripted):
    async def run(self, invocation):
        return dataclasses.replace(await super().run(invocation), reproducible=True)


class LeaksTheEnvironment(Scripted):
    async def run(self, invocation):
        return await super().run(dataclasses.replace(invocation, env={"PATH": "/bin", **invocation.env}))


class LeavesArgumentsOut(Scripted):
    async def run(self, invocation):
        return await super().run(
            dataclasses.replace(invocation, args=tuple(argument for argument in invocation.args if argument))
        )


class SevenBitsOfExitCode(Scripted):
    async def run(self, invocation):
        outcome = await super().run(invocation)
        return dataclasses.replace(outcome, exit_code=outcome.exit_code and outcome.exit_code & 127)


class ExitCodeForEverything(Scripted):
    async def run(self, invocation):
        outcome = await super().run(invocation)
        return outcome if outcome.verdict is Verdict.EXITED else dataclasses.replace(outcome, exit_code=134)


class MergesStderr(Scripted):
    async def run(self, invocation):
        outcome = await super().run(invocation)
        return dataclasses.replace(outcome, stdout=outcome.stdout + outcome.stderr, stderr=b"")


class LosesFiles(Scripted):
    async def run(self, invocation):
        return dataclasses.replace(await super().run(invocation), files={})


class KeepsFiles(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.kept = {}

    async def run(self, invocation):
        self.kept = {**self.kept, **invocation.inputs}
        return await super().run(dataclasses.replace(invocation, inputs=self.kept))


class NamesNoTrap(Scripted):
    async def run(self, invocation):
        return dataclasses.replace(await super().run(invocation), trap=None)


class FailsAfterATrap(Scripted):
    broken = False

    async def run(self, invocation):
        outcome = await super().run(invocation)
        verdict = Verdict.CELL_DIED if self.broken else outcome.verdict
        self.broken = outcome.verdict is Verdict.TRAPPED
        if verdict is Verdict.CELL_DIED:
            return Outcome(verdict=verdict)
        return outcome


class FailsOnTraps(Scripted):
    async def run(self, invocation):
        outcome = await super().run(invocation)
        if outcome.verdict is Verdict.TRAPPED:
            raise RuntimeFailed("trap")
        return outcome


class PreparesAnything(Scripted):
    async def prepare(self, digest, module):
        try:
            await super().prepare(digest, module)
        except NotRunnable:
            self._prepared[digest] = exits(0)


class RunsTheUnprepared(Scripted):
    async def run(self, invocation):
        if not self.prepared(invocation.module):
            return Outcome(verdict=Verdict.NOT_RUNNABLE)
        return await super().run(invocation)


class ForgetsInSilence(Scripted):
    def prepared(self, digest):
        return digest in self.prepares

    async def prepare(self, digest, module):
        await super().prepare(digest, module)
        while len(self._prepared) > 2:
            self._prepared.popitem(last=False)


BROKEN = [
    (IgnoresMemory, "test_a_module_gets_no_more_memory_than_it_may", "memory_bytes is a limit", {"allowed": 2**22}),
    (IgnoresMemory, "test_a_module_that_declares_too_much_memory_is_out_of_memory", "out_of_memory", {}),
    (AllowsAPageMore, "test_a_module_gets_no_more_memory_than_it_may", "memory_bytes is a limit", {"allowed": 2**22}),
    (IgnoresTime, "test_a_spinning_module_times_out", "soon after wall_seconds", {}),
    (IgnoresFuel, "test_fuel_is_a_limit", "out_of_fuel", {}),
    (IgnoresHostCalls, "test_host_calls_are_counted", "host_call_limit", {}),
    (IgnoresOutput, "test_a_flood_of_output_ends_at_the_limit", "no more than output_bytes", {}),
    (LimitsEachOutputByItself, "test_a_flood_of_output_ends_at_the_limit", "together", {}),
    (CutsOutputInSilence, "test_the_output_limit_is_what_may_be_written", "one byte more", {}),
    (OutlivesCancellation, "test_cancelling_kills_what_runs", "cancelling ends a run|goes on until", {}),
    (MixesOutputs, "test_runs_at_once_do_not_mix", "its own output", {}),
    (OneAtATime, "test_as_many_run_at_once_as_there_are_slots", "side by side|soon after wall_seconds", {}),
    (RollsRealDice, "test_random_and_clock_come_from_the_seed", "from the seed", {"module": modules.RANDOM}),
    (RollsRealDice, "test_random_and_clock_come_from_the_seed", "from the seed", {"module": modules.CLOCK}),
    (SeedsByItself, "test_random_and_clock_come_from_the_seed", "nothing of the runtime", {"module": modules.RANDOM}),
    (HasOneSeed, "test_another_seed_gives_other_random_bytes", "another job gets other bytes", {}),
    (KnowsNoCapabilities, "test_the_random_capability_gives_the_real_thing", "real random bytes", {}),
    (KnowsNoCapabilities, "test_the_clock_capability_gives_the_real_thing", "real time", {}),
    (CallsChanceReproducible, "test_the_random_capability_gives_the_real_thing", "cannot be reproduced", {}),
    (LeaksTheEnvironment, "test_the_environment_is_the_invocations_alone", "nothing of the node's", {}),
    (LeavesArgumentsOut, "test_the_arguments_follow_the_programs_name", "args as they are", {}),
    (SevenBitsOfExitCode, "test_the_exit_code_is_the_programs_own", "proc_exit", {"code": 255}),
    (ExitCodeForEverything, "test_a_trap_is_an_outcome", "no exit code", {"module": modules.TRAP}),
    (MergesStderr, "test_stdout_and_stderr_stay_apart", "kept apart", {}),
    (LosesFiles, "test_files_come_in_and_go_out", "left in /out", {"size": 1}),
    (KeepsFiles, "test_files_come_in_and_go_out", "not there in the next", {"size": 1}),
    (NamesNoTrap, "test_a_trap_is_an_outcome", "has its name", {"module": modules.TRAP}),
    (FailsAfterATrap, "test_a_trap_is_an_outcome", "as healthy as before", {"module": modules.TRAP}),
    (FailsOnTraps, "test_a_trap_is_an_outcome", "is an Outcome", {"module": modules.TRAP}),
    (PreparesAnything, "test_what_cannot_run_is_refused", "NotRunnable", {"what": "a component"}),
    (RunsTheUnprepared, "test_what_was_not_prepared_does_not_run", "KeyError", {}),
    (ForgetsInSilence, "test_prepared_modules_run_or_say_that_they_are_gone", "whether run finds", {}),
]


@pytest.mark.parametrize(("broken", "test", "promise", "arguments"), BROKEN)
async def test_a_runtime_that_breaks_a_promise_fails(catches, makes, broken, test, promise, arguments) -> None:
    await catches(RuntimeSuite(), test, makes(broken), promise, **arguments)


def spin() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


@pytest.mark.parametrize("test", ["test_cancelling_kills_what_runs", "test_closing_the_runtime_leaves_nothing_running"])
async def test_a_runtime_that_leaves_a_process_spinning_fails(catches, makes, test: str) -> None:
    left: list[subprocess.Popen[bytes]] = []

    class LeavesAProcess(Scripted):
        async def run(self, invocation):
            if not left and invocation.module == modules.SPIN.digest:
                left.append(spin())
            return await super().run(invocation)

    try:
        await catches(RuntimeSuite(), test, makes(LeavesAProcess), "still busy")
    finally:
        for process in left:
            process.kill()
            process.wait()
