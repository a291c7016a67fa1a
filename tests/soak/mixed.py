"""Jobs of all kinds from several clients at once; what the node holds is counted meanwhile."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil

from plasm.errors import PlasmError
from tests.bench.processes import NodeProcess, node
from tests.soak.cases import MIXED, Case, Deck
from tests.soak.crew import Hung, Member, crew
from tests.soak.figures import MixedFigures
from tests.soak.growth import Watch, growths

_SAMPLES = 1000
"""Of a run, though not more than two in a second."""
_LEAST_BETWEEN = 0.5
_RUSHES = 5
_MODULES_HELD = 140
"""More than a runtime holds compiled in memory at once, one descriptor each."""
_SAY_SECONDS = 60.0
_REST_SECONDS = 15.0
_LOOK_SECONDS = 0.2
_READY_PROCESSES = 5
"""With two slots: a warm parent and a spare for each, and the warm parent of what compiles."""

Say = Callable[[str], None]


class MixedSoak:
    """One run. `figures` are right at any moment."""

    def __init__(self, folder: Path, config: str, run: str) -> None:
        self.figures = MixedFigures()
        self._folder = folder
        self._config = config
        self._deck = Deck(run)
        self._numbers = itertools.count()

    async def go(self, seconds: float, stop: anyio.Event, say: Say) -> None:
        """Submit for `seconds` or until `stop`, then look at what the node still holds."""
        self._folder.mkdir(exist_ok=True)
        async with node("node", self._folder, config=self._config) as running, crew(self._folder) as members:
            await self._rush(members, running)
            await self._fill(members, running)
            for member in members:
                for kind in MIXED:
                    await self._one(member, self._deck.case(kind, next(self._numbers)), running)
            watch = Watch(running.child.pid)
            began = time.monotonic()
            try:
                with anyio.move_on_after(seconds):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(watch.run, max(_LEAST_BETWEEN, seconds / _SAMPLES))
                        tasks.start_soon(self._tell, say)
                        for member in members:
                            tasks.start_soon(self._submit, member, running)
                        await stop.wait()
                        tasks.cancel_scope.cancel()
            finally:
                self.figures.seconds = time.monotonic() - began
                self.figures.growths = growths(watch.samples)
            await self._rest(watch)

    async def _submit(self, member: Member, running: NodeProcess) -> None:
        while True:
            await self._one(member, self._deck.draw(MIXED, next(self._numbers)), running)

    async def _one(self, member: Member, case: Case, running: NodeProcess) -> None:
        try:
            delivered = await member.submit(case, running.address, lambda job_id: None)
        except (PlasmError, Hung) as error:
            self.figures.failures.append(f"{case.kind} {case.number}: {error}")
            # A node that is down answers at once: what follows is the same failure, not a thousand more.
            await anyio.sleep(1)
            return
        self.figures.jobs[case.kind] += 1
        self.figures.failures += [f"{case.kind} {case.number}: {problem}" for problem in case.problems(delivered)]

    async def _rush(self, members: list[Member], running: NodeProcess) -> None:
        """All clients bring the same module at once, which the node has never seen; some times over."""
        for _ in range(_RUSHES):
            case = self._deck.case("fresh", next(self._numbers))
            async with anyio.create_task_group() as tasks:
                for member in members:
                    tasks.start_soon(self._one, member, case, running)

    async def _fill(self, members: list[Member], running: NodeProcess) -> None:
        """Fill the node's table of modules, which is bounded: what grows from then on is a leak."""
        async with anyio.create_task_group() as tasks:

            async def bring(member: Member) -> None:
                for _ in range(-(-_MODULES_HELD // len(members))):
                    await self._one(member, self._deck.case("fresh", next(self._numbers)), running)

            for member in members:
                tasks.start_soon(bring, member)

    async def _rest(self, watch: Watch) -> None:
        """Once nothing is asked, no more processes are left than stand ready for jobs."""
        with anyio.move_on_after(_REST_SECONDS):
            while watch.sample()["processes"] > _READY_PROCESSES:  # noqa: ASYNC110 (no event tells)
                await anyio.sleep(_LOOK_SECONDS)
        left = [_described(child) for child in watch.children()]
        if len(left) > _READY_PROCESSES:
            self.figures.failures.append(
                f"{len(left)} processes are left at rest, {_READY_PROCESSES} stand ready: {', '.join(left)}"
            )

    async def _tell(self, say: Say) -> None:
        while True:
            await anyio.sleep(_SAY_SECONDS)
            say(f"{self.figures.jobs.total()} jobs, {len(self.figures.failures)} failures")


def _described(process: psutil.Process) -> str:
    """Its role, which is its last argument, and the state that it is in."""
    try:
        return f"{(process.cmdline() or ['?'])[-1]} {process.status()}"
    except psutil.NoSuchProcess:
        return "gone"
