"""What every runtime must do."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from plasm.ports import Invocation, Limits, NotRunnable, Outcome, Verdict
from plasm.testing import modules
from plasm.testing.modules import Module, digest_of
from plasm.testing.suites.background import together
from plasm.testing.suites.limits import LimitChecks
from plasm.testing.suites.promises import raises, within
from plasm.testing.suites.runs import MakeRuntime

_MIB = 2**20


class RuntimeSuite(LimitChecks):
    """`make()` returns the async context manager of a runtime that knows WASI preview 1.

    The modules come with the suite (:mod:`plasm.testing.modules`). `patience` is how long preparing or running a small
    module may take, and how long after a limit or a cancellation it may go on.
    """

    pytestmark = pytest.mark.anyio
    patience: float = 20.0

    async def test_it_says_what_it_is(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            assert runtime.engine.name, "the engine has a name, which stands in receipts"
            assert runtime.engine.version, "the engine has a version, which stands in receipts"
            for key, value in runtime.engine.configuration.items():
                assert isinstance(key, str), "the engine's configuration goes by text"
                assert isinstance(value, str | int | bool), f"{key} of the configuration is text, a number or a flag"
            assert runtime.isolation, "isolation says how runs are kept apart"
            assert runtime.slots >= 1, "a runtime can do at least one run at once"

    async def test_every_good_module_can_be_prepared(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            for module in modules.RUNNABLE:
                assert not runtime.prepared(module.digest), "prepared() is false before prepare"
                await self.prepare(runtime, module)
                assert runtime.prepared(module.digest), f"prepared() is true after prepare ({module.name})"
            assert not runtime.prepared(digest_of(b"another")), "prepared() is false for what was never prepared"

    @pytest.mark.parametrize("what", sorted(modules.UNRUNNABLE))
    async def test_what_cannot_run_is_refused(self, make: MakeRuntime, what: str) -> None:
        content = modules.UNRUNNABLE[what]
        async with make() as runtime:
            with (
                within(self.patience, "prepare has a deadline"),
                raises(NotRunnable, f"prepare of a module that is {what} raises NotRunnable"),
            ):
                await runtime.prepare(digest_of(content), content)
            assert not runtime.prepared(digest_of(content)), "what is not runnable is not prepared"
            await self.check_healthy(runtime, f"a module that is {what}")

    async def test_preparing_again_is_fine(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            for _ in range(3):
                await self.prepare(runtime, modules.ECHO)
            await self.check_healthy(runtime, "preparing one module three times")

    async def test_the_same_module_is_prepared_by_several_at_once(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            async with together() as group:
                for _ in range(3):
                    group.start_soon(self.prepare, runtime, modules.ECHO)
            await self.check_healthy(runtime, "preparing one module three times at once")

    async def test_what_was_not_prepared_does_not_run(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            with raises(KeyError, "run raises KeyError where the module is not prepared"):
                await runtime.run(Invocation(module=modules.ECHO.digest))
            await self.check_healthy(runtime, "a module that was not prepared")

    async def test_prepared_modules_run_or_say_that_they_are_gone(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            for version in modules.ECHO_VERSIONS:
                await runtime.prepare(digest_of(version), version)
                assert runtime.prepared(digest_of(version)), "what was prepared last is there"
            for version in modules.ECHO_VERSIONS:
                there = runtime.prepared(digest_of(version))
                try:
                    outcome = await runtime.run(Invocation(module=digest_of(version), stdin=b"x"))
                except KeyError:
                    assert not there, "prepared() says whether run finds the module"
                else:
                    assert there, "prepared() says whether run finds the module"
                    assert outcome.stdout == b"x", "each prepared module runs as itself"

    async def test_returning_is_exit_code_0(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            outcome = await self.run(runtime, modules.RETURNS)
            assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, 0), (
                f"returning from _start is exit code 0, not {outcome.verdict} {outcome.exit_code} {outcome.detail!r}"
            )
            assert (outcome.stdout, outcome.stderr) == (b"", b""), "what the program did not write is not its output"

    @pytest.mark.parametrize("code", [0, 1, 42, 255])
    async def test_the_exit_code_is_the_programs_own(self, make: MakeRuntime, code: int) -> None:
        async with make() as runtime:
            outcome = await self.run(runtime, modules.EXIT, stdin=bytes([code]))
            assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, code), (
                f"exit_code is what the program gave to proc_exit: {code}, not {outcome.verdict} {outcome.exit_code}"
            )

    @pytest.mark.parametrize("size", [0, 1, 4096, 100_000, _MIB])
    async def test_stdin_comes_in_and_stdout_goes_out_whole(self, make: MakeRuntime, size: int) -> None:
        stdin = (bytes(range(251)) * (size // 251 + 1))[:size]
        async with make() as runtime:
            outcome = await self.run(runtime, modules.ECHO, stdin=stdin)
            assert outcome.verdict is Verdict.EXITED, f"echoing {size} bytes is an ordinary run: {outcome.detail!r}"
            assert outcome.stdout == stdin, (
                f"stdout holds what the program wrote; {len(outcome.stdout)} of {size} bytes"
            )
            assert outcome.stderr == b"", "what went to stdout is not in stderr"

    async def test_the_arguments_follow_the_programs_name(self, make: MakeRuntime) -> None:
        args = ("one", "", "two words", "--flag=ü", "a" * 2000)
        async with make() as runtime:
            outcome = await self.run(runtime, modules.ARGS, args=args)
            expected = b"".join(arg.encode() + b"\0" for arg in ("module.wasm", *args))
            assert outcome.stdout == expected, f"argv is module.wasm and the args as they are, not {outcome.stdout!r}"
            outcome = await self.run(runtime, modules.ARGS)
            assert outcome.stdout == b"module.wasm\0", "without args argv is module.wasm alone"

    async def test_the_environment_is_the_invocations_alone(self, make: MakeRuntime) -> None:
        env = {"NAME": "value", "EMPTY": "", "SPACED": "a = b", "ÜBER": "ü"}
        async with make() as runtime:
            outcome = await self.run(runtime, modules.ENV, env=env)
            got = outcome.stdout.decode().split("\0")[:-1]
            assert sorted(got) == sorted(f"{name}={value}" for name, value in env.items()), (
                f"the environment is what the invocation says and nothing of the node's, not {got}"
            )
            outcome = await self.run(runtime, modules.ENV)
            assert outcome.stdout == b"", "the environment is empty unless the invocation says otherwise"

    async def test_the_environment_is_in_the_order_of_its_names(self, make: MakeRuntime) -> None:
        pairs = [("B", "1"), ("A!", "2"), ("Ü", "3"), ("A", "4"), ("\U0001f600", "5"), ("\uffe0", "6")]
        expected = "A=4\0A!=2\0B=1\0Ü=3\0\uffe0=6\0\U0001f600=5\0".encode()
        async with make() as runtime:
            for given in (pairs, pairs[::-1]):
                outcome = await self.run(runtime, modules.ENV, env=dict(given))
                assert outcome.stdout == expected, (
                    "two runs of one job differ in nothing: variables come in the order of their names' UTF-8 bytes, "
                    f"in whatever order the invocation has them, not {outcome.stdout!r}"
                )

    async def test_stdout_and_stderr_stay_apart(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            outcome = await self.run(runtime, modules.BOTH)
            assert (outcome.stdout, outcome.stderr) == (b"out", b"err"), "stdout and stderr are kept apart"

    @pytest.mark.parametrize("size", [0, 1, 65536])
    async def test_files_come_in_and_go_out(self, make: MakeRuntime, size: int) -> None:
        content = (bytes(range(251)) * (size // 251 + 1))[:size]
        async with make() as runtime:
            outcome = await self.run(runtime, modules.FILES, inputs={"data/in": content, "more": b"x"})
            assert outcome.verdict is Verdict.EXITED, f"copying a file is an ordinary run: {outcome.detail!r}"
            assert dict(outcome.files) == {"copy/of it": content}, (
                f"files holds what the program left in /out and nothing else, not {list(outcome.files)}"
            )
            outcome = await self.run(runtime, modules.FILES)
            assert outcome.verdict is Verdict.TRAPPED, "a file of an earlier run is not there in the next"
            assert not outcome.files, "a file of an earlier run is not there in the next"

    @pytest.mark.parametrize("module", [modules.TRAP, modules.RECURSE], ids=lambda module: module.name)
    async def test_a_trap_is_an_outcome(self, make: MakeRuntime, module: Module) -> None:
        async with make() as runtime:
            outcome = await self.run(runtime, module)
            assert outcome.verdict is Verdict.TRAPPED, f"a trap is a verdict ({module.name}), not {outcome.verdict}"
            expected = "unreachable" if module is modules.TRAP else "stack_overflow"
            assert outcome.trap == expected, f"a trap has its name: {expected}, not {outcome.trap!r}"
            await self.check_healthy(runtime, f"a trap ({module.name})")

    @pytest.mark.parametrize("module", [modules.RANDOM, modules.CLOCK], ids=lambda module: module.name)
    async def test_random_and_clock_come_from_the_seed(self, make: MakeRuntime, module: Module) -> None:
        async with make() as runtime:
            first = await self.run(runtime, module, seed=b"1" * 32)
            again = await self.run(runtime, module, seed=b"1" * 32)
            assert first.verdict is Verdict.EXITED, f"{module.name} is an ordinary run: {first.detail!r}"
            assert first.stdout, f"{module.name} writes something"
            assert first.stdout == again.stdout, f"{module.name} comes from the seed: the same job gives the same bytes"
            assert first.reproducible, "a run without capabilities can be reproduced"
        async with make() as runtime:
            elsewhere = await self.run(runtime, module, seed=b"1" * 32)
            assert elsewhere.stdout == first.stdout, (
                f"{module.name} comes from the seed and from nothing of the runtime"
            )

    async def test_another_seed_gives_other_random_bytes(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            given = {(await self.run(runtime, modules.RANDOM, seed=bytes([n]) * 32)).stdout for n in range(4)}
            assert len(given) == 4, "random comes from the seed: another job gets other bytes"

    async def test_the_random_capability_gives_the_real_thing(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            asked = frozenset({"random"})
            outcomes = [await self.run(runtime, modules.RANDOM, capabilities=asked) for _ in range(2)]
            assert outcomes[0].stdout != outcomes[1].stdout, "`random` asks for real random bytes"
            assert not any(one.reproducible for one in outcomes), "what had real random bytes cannot be reproduced"

    async def test_the_clock_capability_gives_the_real_thing(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            outcomes = [await self.run(runtime, modules.CLOCK, capabilities=frozenset({"clock"})) for _ in range(2)]
            assert outcomes[0].stdout != outcomes[1].stdout, "`clock` asks for the real time"
            assert not any(one.reproducible for one in outcomes), "what had the real time cannot be reproduced"

    async def test_runs_at_once_do_not_mix(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            await self.prepare(runtime, modules.ECHO)
            await self.prepare(runtime, modules.TRAP)

            async def one(number: int) -> None:
                for turn in range(3):
                    stdin = b"run %d turn %d " % (number, turn) * 500
                    outcome = await self.run(runtime, modules.ECHO, stdin=stdin)
                    assert outcome.verdict is Verdict.EXITED, "each run gets its own verdict"
                    assert outcome.stdout == stdin, "each run gets its own output"
                    if number % 2:
                        trapped = await self.run(runtime, modules.TRAP)
                        assert trapped.verdict is Verdict.TRAPPED, "each run gets its own verdict"
                        assert trapped.stdout == b"", "each run gets its own output"

            async with together() as group:
                for number in range(min(runtime.slots, 4)):
                    group.start_soon(one, number)

    async def test_as_many_run_at_once_as_there_are_slots(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            await self.prepare(runtime, modules.SPIN)
            count = min(runtime.slots, 4)
            outcomes: list[Outcome] = []

            async def spin() -> None:
                outcomes.append(await self.run(runtime, modules.SPIN, limits=Limits(wall_seconds=1.0)))

            with within(self.patience + 1, f"{count} runs of a second go on side by side"):
                async with together() as group:
                    for _ in range(count):
                        group.start_soon(spin)
            assert [one.verdict for one in outcomes] == [Verdict.TIMED_OUT] * count, "each is timed by its own clock"

    async def test_cancelling_kills_what_runs(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            await self.prepare(runtime, modules.SPIN)
            for _ in range(min(runtime.slots, 2) + 1):
                before = anyio.current_time()
                with anyio.move_on_after(0.5) as scope:
                    await runtime.run(
                        Invocation(module=modules.SPIN.digest, limits=Limits(wall_seconds=0.5 + 3 * self.patience))
                    )
                assert scope.cancelled_caught, "run goes on until it is cancelled"
                took = anyio.current_time() - before - 0.5
                assert took < self.patience, f"cancelling ends a run; it took {took:.1f} s"
            await self.check_nothing_spins()
            await self.check_healthy(runtime, "cancelling more runs than there are slots")

    async def test_closing_the_runtime_leaves_nothing_running(self, make: MakeRuntime) -> None:
        with within(2 * self.patience + 1, "closing a runtime comes to an end"):
            async with make() as runtime:
                await self.prepare(runtime, modules.SPIN)
                with anyio.move_on_after(0.3):
                    await runtime.run(
                        Invocation(module=modules.SPIN.digest, limits=Limits(wall_seconds=3 * self.patience))
                    )
        await self.check_nothing_spins()

    async def test_cancelling_a_prepare_leaves_the_runtime_whole(self, make: MakeRuntime) -> None:
        async with make() as runtime:
            with anyio.CancelScope() as scope:
                scope.cancel()
                with suppress(NotRunnable):
                    await runtime.prepare(modules.ECHO.digest, modules.ECHO.wasm)
            await self.check_healthy(runtime, "a prepare that was cancelled")
