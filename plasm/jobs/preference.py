"""Which of the nodes that were found is asked first, and who is told how that went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from plasm.errors import ungrouped
from plasm.jobs.patience import Patience
from plasm.jobs.probing import Probes
from plasm.ports import Found, PeerId
from plasm.shares import networks_named

GATHER_SECONDS = 0.1
"""For more nodes to turn up beside the first, so that there is a choice; a fraction of what finding one takes."""
_MOST_COMPARED = 256
"""Of those that have not answered: what is known of each is read for every choice."""


class Preference(Protocol):
    """What is known of nodes. Nothing here raises: a search goes on without it."""

    async def order(self, found: Sequence[Found]) -> list[Found]:
        """`found`, best first, without those that are not to be asked."""

    async def answered(self, peer: PeerId) -> None:
        """It did a job, and its receipt was verified."""

    async def silent(self, peer: PeerId) -> None:
        """It was given up because nothing came from it in time."""

    async def refused(self, peer: PeerId) -> None:
        """It rejected a job, failed it, or sent what was not taken."""


class NoPreference:
    """Nodes are asked as they are found."""

    async def order(self, found: Sequence[Found]) -> list[Found]:
        return list(found)

    async def answered(self, peer: PeerId) -> None: ...

    async def silent(self, peer: PeerId) -> None: ...

    async def refused(self, peer: PeerId) -> None: ...


Reached = Callable[[Found], Awaitable[bool]]
"""Whether that node answers at all; raises nothing."""


class Candidates:
    """The nodes of a search that answer, each handed out once for every set of addresses under which it was found.

    `reached` asks a node. Many are asked at once, so that those who say nothing hold up nobody.
    """

    def __init__(
        self,
        nodes: MemoryObjectReceiveStream[Found],
        preference: Preference,
        reached: Reached,
        patience: Patience | None = None,
    ) -> None:
        self._nodes = nodes
        self._preference = preference
        self._reached = reached
        self._patience = patience or Patience()
        self._probes = Probes(self._ask, self._patience)
        self._answered: dict[PeerId, Found] = {}
        self._found: dict[PeerId, int] = {}
        self._failures: Counter[str] = Counter()
        self._gathered = False
        self._changed = anyio.Event()

    async def next(self) -> Found:
        """The best of those that answered, waiting for one where there is none."""
        await self._gather()
        best: list[Found] = []
        try:
            with ungrouped():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._receive)
                    tasks.start_soon(self._probes.run)
                    best.append(await self._choose())
                    tasks.cancel_scope.cancel()
        finally:
            self._probes.put_back()
        return best[0]

    def failed(self, found: Found) -> None:
        """`found` did not do what was asked of it: other networks come before those that it names."""
        self._failures.update(networks_named(found.addresses))

    async def _ask(self, found: Found) -> None:
        if await self._reached(found):
            self._answered[found.peer] = found
        self._changed.set()

    async def _choose(self) -> Found:
        began = anyio.current_time()
        until: float | None = None
        while True:
            self._changed = anyio.Event()
            ordered = await self._order()
            ready = [found for found in ordered if found.peer in self._answered]
            now = anyio.current_time()
            if ready and until is None:
                until = now + self._patience.head_start(now - began)
            if ready and until is not None:
                over = now >= until
                if over or ordered[0].peer in self._answered:
                    return self._answered.pop((ready if over else ordered)[0].peer)
            with anyio.move_on_after(None if until is None else until - now):
                await self._changed.wait()

    async def _order(self) -> list[Found]:
        """Those that may still be handed out, best first, without those that are not to be asked."""
        others = [found for found in self._probes.unanswered if found.peer not in self._answered]
        candidates = [*self._answered.values(), *others[:_MOST_COMPARED]]
        candidates.sort(key=lambda found: self._found[found.peer])
        ordered = await self._preference.order(candidates)
        refused = {found.peer for found in candidates} - {found.peer for found in ordered}
        self._probes.drop(refused)
        for peer in refused:
            self._answered.pop(peer, None)
        return sorted(
            ordered, key=lambda each: max(self._failures[network] for network in networks_named(each.addresses))
        )

    async def _receive(self) -> None:
        while True:
            self._put(await self._nodes.receive())
            self._changed.set()

    def _put(self, found: Found) -> None:
        self._found.setdefault(found.peer, len(self._found))
        self._probes.put(found)

    async def _gather(self) -> None:
        if self._gathered:
            return
        self._gathered = True
        self._put(await self._nodes.receive())
        with anyio.move_on_after(GATHER_SECONDS):
            while True:
                self._put(await self._nodes.receive())
