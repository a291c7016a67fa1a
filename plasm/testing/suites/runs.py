"""One run after another, for the tests of a runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import anyio

from plasm.ports import Invocation, Limits, Outcome, Runtime, Usage, Verdict
from plasm.testing import modules
from plasm.testing.modules import Module
from plasm.testing.suites.processes import cpu_ticks_of_descendants
from plasm.testing.suites.promises import never_raises, within

MakeRuntime = Callable[[], AbstractAsyncContextManager[Runtime]]

_AT_REST_TICKS = 3
"""Clock ticks in 0.4 s: what an idle process may use at most, and what spins gets on a crowded machine too."""


class RunChecks:
    """What every test of a runtime needs."""

    patience: float = 20.0

    async def prepare(self, runtime: Runtime, module: Module) -> None:
        promise = f"a tiny module that is in order ({module.name}) can be prepared"
        with within(self.patience, promise), never_raises(promise):
            await runtime.prepare(module.digest, module.wasm)

    async def run(
        self,
        runtime: Runtime,
        module: Module,
        *,
        args: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
        inputs: Mapping[str, bytes] | None = None,
        limits: Limits | None = None,
        seed: bytes = bytes(32),
        capabilities: frozenset[str] = frozenset(),
    ) -> Outcome:
        limits = limits or Limits(wall_seconds=self.patience)
        if not runtime.prepared(module.digest):
            await self.prepare(runtime, module)
        with (
            within(limits.wall_seconds + self.patience, f"run comes to an end soon after wall_seconds ({module.name})"),
            never_raises(f"every end of the program is an Outcome ({module.name})"),
        ):
            outcome = await runtime.run(
                Invocation(
                    module=module.digest,
                    args=args,
                    env=env or {},
                    stdin=stdin,
                    inputs=inputs or {},
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
        size = len(outcome.stdout) + len(outcome.stderr) + sum(map(len, outcome.files.values()))
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
        """No process that this one started stays busy, as far as the system tells.

        Replacing what was killed takes a moment; what spins never comes to rest.
        """
        deadline = anyio.current_time() + self.patience
        while True:
            before = cpu_ticks_of_descendants()
            if before is None:
                return
            await anyio.sleep(0.4)
            after = cpu_ticks_of_descendants() or {}
            busy = [pid for pid, ticks in after.items() if ticks - before.get(pid, ticks) > _AT_REST_TICKS]
            if not busy:
                return
            assert anyio.current_time() < deadline, (
                f"cancelling kills what runs before the cancellation is delivered; still busy: {busy}"
            )
