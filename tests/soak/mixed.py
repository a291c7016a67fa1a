"""Jobs of all kinds from several clients at once; what the node holds is counted meanwhile."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from plasm.errors import PlasmError
from tests.bench.processes import NodeProcess, node
from tests.soak.cases import MIXED, Case, Deck
from tests.soak.crew import Hung, Member, crew
from tests.soak.figures import MixedFigures
from tests.soak.filling import fill, rest
from tests.soak.growth import Watch, growths

_SAMPLES = 1000
"""Of a run, though not more than two in a second."""
_LEAST_BETWEEN = 0.5
_RUSHES = 5
_MOST_FAILURES = 1000
_SAY_SECONDS = 60.0

Say = Callable[[str], None]


class MixedSoak:
    """One run. `figures` are right at any moment."""

    def __init__(self, folder: Path, config: str, run: str, jobs: int = 0) -> None:
        """Of at least `jobs` jobs."""
        self.figures = MixedFigures()
        self._folder = folder
        self._config = config
        self._deck = Deck(run)
        self._jobs = jobs
        self._numbers = itertools.count()
        self._ended = anyio.Event()

    async def go(self, seconds: float, stop: anyio.Event, say: Say) -> None:
        """Submit for `seconds` and until the jobs are done, or until `stop`; then look at what the node still holds."""
        self._folder.mkdir(exist_ok=True)
        async with node("node", self._folder, config=self._config) as running, crew(self._folder) as members:
            await self._rush(members, running)
            await fill(members, self._deck, self._numbers, partial(self._one, running))
            await self._every_kind(members, running)
            watch = Watch(running.child.pid, running.home)
            began = time.monotonic()
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(watch.run, max(_LEAST_BETWEEN, seconds / _SAMPLES))
                    tasks.start_soon(self._tell, say)
                    for member in members:
                        tasks.start_soon(self._submit, member, running)
                    tasks.start_soon(self._end_on, stop, tasks.cancel_scope)
                    await anyio.sleep(seconds)
                    while self._owes:
                        self._ended = anyio.Event()
                        await self._ended.wait()
                    tasks.cancel_scope.cancel()
            finally:
                self.figures.seconds = time.monotonic() - began
                self.figures.growths = growths(watch.samples)
            self.figures.failures += await rest(watch, reused='isolation = "reused"' in self._config)

    async def _every_kind(self, members: list[Member], running: NodeProcess) -> None:
        """One job of each, so that a short run has had all of them."""
        async with anyio.create_task_group() as tasks:

            async def bring(member: Member) -> None:
                for kind in list(MIXED)[member.number :: len(members)]:
                    await self._one(running, member, self._deck.case(kind, next(self._numbers)))

            for member in members:
                tasks.start_soon(bring, member)

    @property
    def _owes(self) -> bool:
        return self.figures.jobs.total() < self._jobs and len(self.figures.failures) < _MOST_FAILURES

    async def _end_on(self, stop: anyio.Event, scope: anyio.CancelScope) -> None:
        await stop.wait()
        scope.cancel()

    async def _submit(self, member: Member, running: NodeProcess) -> None:
        while True:
            await self._one(running, member, self._deck.draw(MIXED, next(self._numbers)))
            self._ended.set()

    async def _one(self, running: NodeProcess, member: Member, case: Case) -> None:
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
                    tasks.start_soon(self._one, running, member, case)

    async def _tell(self, say: Say) -> None:
        while True:
            await anyio.sleep(_SAY_SECONDS)
            say(f"{self.figures.jobs.total()} jobs, {len(self.figures.failures)} failures")
