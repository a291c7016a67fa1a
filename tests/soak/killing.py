"""Jobs go on while the node is killed at random instants; at the end each accepted job's result must be there."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import anyio
import psutil

from plasm.errors import PlasmError
from plasm.jobs.attempts import NoNode
from plasm.jobs.conversation import Delivered
from tests.bench.processes import LISTEN, NodeProcess, node
from tests.soak.accounts import Accounts
from tests.soak.cases import WHILE_KILLED, Case, Deck
from tests.soak.crew import Hung, Member, crew
from tests.soak.figures import KillFigures
from tests.soak.ledger import Entry
from tests.soak.targets import alive

_CLIENTS = 4
_LIVES = (0.2, 5.0)
"""Seconds from ready to death, at random between these."""
_PAUSE_SECONDS = 0.1
"""Between a client's jobs, so that asking for all of them again takes a small part of the time."""
_DOWN_SECONDS = 0.5
"""Before a client tries a node again that is not there."""
_ORPHAN_SECONDS = 10.0
"""The kernel has long killed what belonged to a dead node."""
_LOOK_SECONDS = 0.02
_END_SECONDS = 1800.0
_SAY_EVERY = 10

Say = Callable[[str], None]


class KillSoak:
    """One run. `figures` are right at any moment."""

    def __init__(self, folder: Path, config: str, run: str) -> None:
        self.figures = KillFigures()
        self._folder = folder
        self._config = config
        self._deck = Deck(run)
        self._accounts = Accounts(self._deck, self.figures, lambda: self.figures.kills)
        self._random = random.Random(run)
        self._numbers = itertools.count()
        self._listen = LISTEN
        self._address = ""
        self._over = False
        self._submitting = 0
        self._ended = anyio.Event()

    async def go(self, seconds: float, stop: anyio.Event, say: Say) -> None:
        """Kill and submit for `seconds` or until `stop`, then ask for everything that was accepted."""
        self._folder.mkdir(exist_ok=True)
        async with crew(self._folder, _CLIENTS) as members:
            async with self._node():
                # From then on the node has every module and needs none of them sent.
                for kind in WHILE_KILLED:
                    await self._one(members[0], self._deck.case(kind, next(self._numbers)))
            async with anyio.create_task_group() as tasks:
                for member in members:
                    tasks.start_soon(self._submit, member)
                began = time.monotonic()
                with anyio.move_on_after(seconds):
                    async with anyio.create_task_group() as killing:
                        killing.start_soon(self._kill_and_restart, say)
                        await stop.wait()
                        killing.cancel_scope.cancel()
                self.figures.seconds = time.monotonic() - began
                async with self._node():
                    await self._let_end()
                    say(f"{self.figures.kills} kills, {self.figures.accepted} accepted: asking for all of them again")
                    with anyio.move_on_after(_END_SECONDS):
                        async with anyio.create_task_group() as asking:
                            for member in members:
                                asking.start_soon(self._accounts.ask_for_all, member, partial(self._ask_again, member))
        self._accounts.close()

    @contextlib.asynccontextmanager
    async def _node(self) -> AsyncIterator[NodeProcess]:
        """The node in another of its lives: the same home, the same port."""
        async with node("node", self._folder, config=self._config, listen=self._listen) as running:
            self._address = running.address
            self._listen = running.address.partition("/p2p/")[0]
            yield running

    async def _submit(self, member: Member) -> None:
        self._submitting += 1
        while not self._over:
            await self._one(member, self._deck.draw(WHILE_KILLED, next(self._numbers)))
            await anyio.sleep(_PAUSE_SECONDS)
        self._submitting -= 1
        self._ended.set()

    async def _let_end(self) -> None:
        """Let each client end the job that it is at: one that is stopped would have the node cancel it."""
        self._over = True
        while self._submitting:
            self._ended = anyio.Event()
            await self._ended.wait()

    async def _one(self, member: Member, case: Case) -> None:
        accepted = self._accounts.submitting(member, case)
        try:
            delivered = await member.submit(case, self._address, accepted)
        except NoNode:
            self.figures.unanswered += 1
            await anyio.sleep(_DOWN_SECONDS)
        except (PlasmError, Hung) as error:
            self.figures.failures.append(f"{case.kind} {case.number}: {error}")
        else:
            self._accounts.delivered(case, delivered)

    async def _kill_and_restart(self, say: Say) -> None:
        died: float | None = None
        while True:
            async with self._node() as running:
                if died is not None:
                    self.figures.restart_seconds.append(time.monotonic() - died)
                await anyio.sleep(self._random.uniform(*_LIVES))
                children = psutil.Process(running.child.pid).children(recursive=True)
                died = time.monotonic()
                self.figures.kills += 1
                await running.child.kill()
                await self._look_for_orphans(children)
            if self.figures.kills % _SAY_EVERY == 0:
                say(f"{self.figures.kills} kills, {self.figures.accepted} accepted")

    async def _look_for_orphans(self, children: list[psutil.Process]) -> None:
        with anyio.move_on_after(_ORPHAN_SECONDS):
            while any(map(alive, children)):  # noqa: ASYNC110 (no event tells)
                await anyio.sleep(_LOOK_SECONDS)
        self.figures.left_over += [f"process {child.pid}" for child in children if alive(child)]

    async def _ask_again(self, member: Member, job_id: str, case: Case, entry: Entry) -> Delivered:
        if entry.receipt is None and case.kind == "large":
            # Its input may not have arrived whole before the node died: the client has to send it again.
            return await member.submit(case, self._address, lambda job_id: None)
        return await member.ask_again(job_id, case, self._address)
