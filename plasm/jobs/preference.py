"""Which of the nodes that were found is asked first, and who is told how that went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from plasm.ports import Found, PeerId

GATHER_SECONDS = 0.1
"""For more nodes to turn up beside the first, so that there is a choice; a fraction of what finding one takes."""


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


class Candidates:
    """The nodes of a search, each handed out once for every set of addresses under which it was found."""

    def __init__(self, nodes: MemoryObjectReceiveStream[Found], preference: Preference) -> None:
        self._nodes = nodes
        self._preference = preference
        self._waiting: list[Found] = []
        self._gathered = False

    async def next(self) -> Found:
        """The best of those that are there, waiting for one where there is none."""
        while True:
            if not self._waiting:
                self._waiting.append(await self._nodes.receive())
            await self._gather()
            self._waiting = await self._preference.order(self._waiting)
            if self._waiting:
                return self._waiting.pop(0)

    async def _gather(self) -> None:
        if not self._gathered:
            self._gathered = True
            with anyio.move_on_after(GATHER_SECONDS):
                while True:
                    self._waiting.append(await self._nodes.receive())
        while True:
            try:
                self._waiting.append(self._nodes.receive_nowait())
            except anyio.WouldBlock:
                return
