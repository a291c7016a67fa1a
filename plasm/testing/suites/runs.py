"""One run after another, for the tests of a runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio

from plasm.ports import Invocation, Limits, Outcome, Runtime, Usage, Verdict
from plasm.testing import modules
from plasm.testing.modules import Module
from plasm.testing.suites.processes import cpu_ticks_of_descendants
from plasm.testing.suites.promises import within

MakeRuntime = Callable[[], AbstractAsyncContextManager[Runtime]]


class RunChecks:
    """What every test of a runtime needs."""

    patience: float = 20.0

    async def prepare(self, runtime: Runtime, module: Module) -> None:
        with within(self.patience, f"prepare of a tiny module ({module.name}) comes to an end"):
            await runtime.prepare(module.digest, module.wasm)

    async def run(
        self,
        runtime: Runtime,
        module: Module,
        *,
        args: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
        limits: Limits | None = None,
        seed: bytes = bytes(32),
        capabilities: frozenset[str] = frozenset(),
    ) -> Outcome:
        limits = limits or Limits(wall_seconds=self.patience)
        if not runtime.prepared(module.digest):
            await self.prepare(runtime, module)
        with within(
            limits.wall_seconds + self.patience, f"run comes to an end soon after wall_seconds ({module.name})"
        ):
            outcome = await runtime.run(
                Invocation(
                    module=module.digest,
                    args=args,
                    env=env or {},
                    stdin=stdin,
                    limits=limits,
                    seed=seed,
                    capabilities=capabilities,
                )
            )
        self.check_whole(outcome, limits)
        return outcome

    def check_whole(self, outcome: Outcome, limits: Limits) -> None:
        """What holds for every outcome."""
        assert isinstance(outcome.verdict, Verdict), "an outcome has a Verdict"
        if outcome.verdict is Verdict.EXITED:
            assert outcome.exit_code is not None, "what exited has an exit code"
            assert 0 <= outcome.exit_code <= 255, f"an exit code is 0 to 255; this one is {outcome.exit_code}"
        else:
            assert outcome.exit_code is None, f"there is no exit code where the verdict is {outcome.verdict}"
        size = len(outcome.stdout) + len(outcome.stderr)
        assert size <= limits.output_bytes, (
            f"stdout and stderr together hold no more than output_bytes: {size} where {limits.output_bytes} are allowed"
        )
        assert "\n" not in outcome.detail, "detail is one line"
        assert isinstance(outcome.usage, Usage), "an outcome says what was used"
        assert outcome.usage.wall_seconds >= 0, "wall_seconds is a duration"
        assert outcome.usage.cpu_seconds >= 0, "cpu_seconds is a duration"
        if limits.fuel is not None and outcome.usage.fuel is not None:
            assert outcome.usage.fuel <= limits.fuel, "no more fuel is used than the limits allow"

    async def check_healthy(self, runtime: Runtime, after: str) -> None:
        outcome = await self.run(runtime, modules.ECHO, stdin=b"still there?")
        assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, b"still there?"), (
            f"the runtime is as healthy as before after {after}; the next run was {outcome.verdict} {outcome.detail!r}"
        )

    async def check_nothing_spins(self) -> None:
        """No process that this one started is busy, as far as the system tells."""
        before = cpu_ticks_of_descendants()
        if before is None:
            return
        await anyio.sleep(0.5)
        after = cpu_ticks_of_descendants() or {}
        second = os.sysconf("SC_CLK_TCK")
        busy = [pid for pid, ticks in after.items() if ticks - before.get(pid, ticks) > second * 0.2]
        assert not busy, f"cancelling kills what runs before the cancellation is delivered; still busy: {busy}"
