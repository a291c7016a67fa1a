"""Jobs go on while what they run in is killed at random instants: cells, warm parents, the cell that compiles."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import psutil

from plasm.errors import PlasmError
from plasm.jobs.conversation import Delivered
from tests.bench.processes import NodeProcess, node
from tests.soak.accounts import Accounts
from tests.soak.cases import WHILE_CELLS_ARE_KILLED, Case, Deck
from tests.soak.crew import Hung, Member, crew
from tests.soak.deaths import read_deaths
from tests.soak.figures import CellFigures
from tests.soak.filling import fill, rest
from tests.soak.growth import Watch, growths
from tests.soak.ledger import MOST_ATTEMPTS, Entry
from tests.soak.targets import KINDS, Target, alive, targets

_WEIGHTS = dict(zip(KINDS, (6, 1.5, 2, 0.5), strict=True))
_BETWEEN = (0.05, 1.2)
"""Seconds from one kill to the next, at random between these."""
_COMPILING_SECONDS = 2.0
"""For so long a module is waited for that is being compiled, whose cell then lives on for some tenths of a second."""
_LATER_SECONDS = 0.3
_LOOK_SECONDS = 0.01
_SAMPLES = 1000
_LEAST_BETWEEN = 0.5
_TIMED = 20
_ROUNDS = 5
"""The fastest of so many counts, each the median of :data:`_TIMED` jobs: other programs use this machine as well."""
_SLOWER = 2.0
_SLOWER_MS = 20.0
_GIVEN_UP = 0.02
"""Of the accepted jobs, so many may have been killed three times."""
_MORE_DESCRIPTORS = 4
_OUTLIVED_SECONDS = 10.0
_END_SECONDS = 1800.0
_SAY_SECONDS = 60.0

Say = Callable[[str], None]


class CellSoak:
    """One run. `figures` are right at any moment."""

    def __init__(self, folder: Path, config: str, run: str) -> None:
        self.figures = CellFigures()
        self._folder = folder
        self._config = config
        self._deck = Deck(run)
        self._random = random.Random(run)
        self._numbers = itertools.count()
        self._of_runs: list[float] = []
        """When something was killed that may have run a job."""
        self._accounts = Accounts(self._deck, self.figures, lambda: len(self._of_runs))
        self._over = False
        self._reused = 'isolation = "reused"' in config

    async def go(self, seconds: float, stop: anyio.Event, say: Say) -> None:
        """Kill and submit for `seconds` or until `stop`, then ask for everything that was accepted."""
        self._folder.mkdir(exist_ok=True)
        async with crew(self._folder) as members:
            async with node("node", self._folder, config=self._config) as running:
                await fill(members, self._deck, self._numbers, self._submitting(running))
                watch = Watch(running.child.pid, running.home)
                self.figures.failures += await rest(watch, reused=self._reused)
                self.figures.before = await self._time_a_job(members[0], running)
                before = watch.sample()
                await self._kill_and_submit(members, running, watch, seconds, stop, say)
                self.figures.failures += await rest(watch, reused=self._reused)
                self.figures.after = await self._time_a_job(members[0], running)
                self.figures.failures += await rest(watch, reused=self._reused)
                self._compare(before, watch.sample())
                say(f"{self._said}: asking for all of them again")
                with anyio.move_on_after(_END_SECONDS):
                    async with anyio.create_task_group() as asking:
                        for member in members:
                            again = partial(self._ask_again, member, running)
                            asking.start_soon(self._accounts.ask_for_all, member, again)
                processes = watch.children()
            await self._look_for_what_outlived(watch, processes)
        self._accounts.close()
        self._explain(running.child.log)

    async def _kill_and_submit(
        self, members: list[Member], running: NodeProcess, watch: Watch, seconds: float, stop: anyio.Event, say: Say
    ) -> None:
        submit, began = self._submitting(running), time.monotonic()

        async def go_on(member: Member) -> None:
            while not self._over:
                await submit(member, self._deck.draw(WHILE_CELLS_ARE_KILLED, next(self._numbers)))

        async def end_on_stop(scope: anyio.CancelScope) -> None:
            await stop.wait()
            scope.cancel()

        try:
            async with anyio.create_task_group() as submitting:
                for member in members:
                    submitting.start_soon(go_on, member)
                with anyio.move_on_after(seconds):
                    async with anyio.create_task_group() as killing:
                        killing.start_soon(end_on_stop, killing.cancel_scope)
                        killing.start_soon(watch.run, max(_LEAST_BETWEEN, seconds / _SAMPLES))
                        killing.start_soon(self._tell, say)
                        await self._kill(running.child.pid)
                # Each client ends the job that it is at: one that is stopped would have the node cancel it.
                self._over = True
        finally:
            self.figures.seconds = time.monotonic() - began
            self.figures.growths = growths(watch.samples)

    async def _kill(self, pid: int) -> None:
        while True:
            await anyio.sleep(self._random.uniform(*_BETWEEN))
            # One of each first: a short run has had all of them.
            due = [kind for kind in KINDS if not self.figures.kills[kind]]
            kind = due[0] if due else self._random.choices(KINDS, list(_WEIGHTS.values()))[0]
            found = await self._find(pid, kind)
            if not found:
                continue
            target = self._random.choice(found)
            at = time.time()
            if target.kill():
                self.figures.kills[kind] += 1
                if target.role == "run":
                    self._of_runs.append(at)

    async def _find(self, pid: int, kind: str) -> list[Target]:
        if kind != "compile cell":
            return targets(pid, kind)
        found: list[Target] = []
        with anyio.move_on_after(_COMPILING_SECONDS):
            while not (found := targets(pid, kind)):  # noqa: ASYNC110 (no event tells)
                await anyio.sleep(_LOOK_SECONDS)
            await anyio.sleep(self._random.uniform(0, _LATER_SECONDS))
        return found

    def _submitting(self, running: NodeProcess) -> Callable[[Member, Case], Awaitable[None]]:
        async def submit(member: Member, case: Case) -> None:
            accepted = self._accounts.submitting(member, case)
            try:
                delivered = await member.submit(case, running.address, accepted)
            except (PlasmError, Hung) as error:
                self.figures.failures.append(f"{case.kind} {case.number}: {error}")
                # A node that is down answers at once: what follows is the same failure, not a thousand more.
                await anyio.sleep(1)
            else:
                self._accounts.delivered(case, delivered)

        return submit

    async def _time_a_job(self, member: Member, running: NodeProcess) -> float:
        """Milliseconds."""
        submit, rounds = self._submitting(running), []
        for _ in range(_ROUNDS):
            taken = []
            for _ in range(_TIMED):
                case = self._deck.case("hello", next(self._numbers))
                began = time.monotonic()
                await submit(member, case)
                taken.append(1000 * (time.monotonic() - began))
            rounds.append(statistics.median(taken))
        return min(rounds)

    def _compare(self, before: dict[str, float], after: dict[str, float]) -> None:
        figures = self.figures
        figures.held = {name: (before[name], after[name]) for name in before}
        if after["descriptors"] > before["descriptors"] + _MORE_DESCRIPTORS:
            figures.failures.append(f"{after['descriptors']:g} descriptors at rest, {before['descriptors']:g} before")
        if after["control groups"] > before["control groups"]:
            figures.failures.append(f"{after['control groups']:g} control groups, {before['control groups']:g} before")
        if figures.after > _SLOWER * figures.before + _SLOWER_MS:
            figures.failures.append(f"a job takes {figures.after:.1f} ms, {figures.before:.1f} ms before the kills")

    @staticmethod
    async def _ask_again(member: Member, running: NodeProcess, job_id: str, case: Case, entry: Entry) -> Delivered:
        return await member.ask_again(job_id, case, running.address)

    async def _look_for_what_outlived(self, watch: Watch, processes: Sequence[psutil.Process]) -> None:
        with anyio.move_on_after(_OUTLIVED_SECONDS):
            while watch.groups() or any(map(alive, processes)):  # noqa: ASYNC110
                await anyio.sleep(_LOOK_SECONDS)
        self.figures.left_over += [f"process {process.pid}" for process in processes if alive(process)]
        self.figures.left_over += [str(folder) for folder in watch.groups()]

    def _explain(self, log: Path) -> None:
        """Each death is a kill's doing, and a job that was given up was killed as often as that takes."""
        deaths, figures = read_deaths(log), self.figures
        figures.runs_died = len(deaths.runs)
        figures.tried_again = Counter(problem for _, problem in deaths.other)
        figures.failures += deaths.unexplained(self._of_runs)
        figures.failures += [
            f"job {job} was given up after {deaths.attempts[job]} attempts"
            for job in self._accounts.ledger.given_up
            if deaths.attempts[job] != MOST_ATTEMPTS
        ]
        if figures.given_up > 1 + _GIVEN_UP * figures.accepted:
            figures.failures.append(f"{figures.given_up} jobs were given up, more than kills at random explain")

    @property
    def _said(self) -> str:
        return f"{self.figures.kills.total()} kills, {self.figures.accepted} accepted"

    async def _tell(self, say: Say) -> None:
        while True:
            await anyio.sleep(_SAY_SECONDS)
            say(self._said)
