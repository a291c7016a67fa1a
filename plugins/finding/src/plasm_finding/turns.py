"""Who is looked at next: one turn at a time for each peer, in the order in which they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import anyio

from plasm.ports import Found, PeerId

MOST_WAITING: Final = 256


@dataclass(frozen=True)
class Turn:
    """One look at what was found."""

    found: Found
    tries: int = 0
    """Looks before this one that came to nothing."""


class Turns:
    """A queue in which a peer stands once, with what was said of it last, and not while it is being looked at.

    So a peer of which there is always news delays the others by one look, and keeps one of those who look busy.
    """

    def __init__(self) -> None:
        self._waiting: dict[PeerId, Turn] = {}
        self._taken: set[PeerId] = set()
        self._changed = anyio.Event()

    async def put(self, turn: Turn) -> None:
        """Queue `turn`, in place of an earlier one of that peer; waits while the queue is full."""
        peer = turn.found.peer
        while peer not in self._waiting and len(self._waiting) >= MOST_WAITING:
            await self._changed.wait()
        self._waiting[peer] = turn
        self._tell()

    async def take(self) -> Turn:
        """The next turn; :meth:`done` ends it."""
        while True:
            peer = next((peer for peer in self._waiting if peer not in self._taken), None)
            if peer is not None:
                turn = self._waiting.pop(peer)
                self._taken.add(peer)
                self._tell()
                return turn
            await self._changed.wait()

    def done(self, turn: Turn) -> None:
        """Let the peer of `turn` stand in the queue's order again."""
        self._taken.discard(turn.found.peer)
        self._tell()

    def awaits(self, peer: PeerId) -> bool:
        """Whether there is newer news of `peer`."""
        return peer in self._waiting

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
