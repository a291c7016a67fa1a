"""Who is looked at next: one turn at a time for each peer, those of networks that had the fewest turns first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.lowlevel

from plasm.ports import Found, PeerId
from plasm.shares import networks_named

MOST_WAITING: Final = 1024


@dataclass(frozen=True, kw_only=True)
class SearchBounds:
    """How long a search for providers waits for peers, and for how many at once; each discovery has its own."""

    answer_seconds: float = 3.0
    """For what a provider says of itself, on a stream that is open."""
    ask_seconds: float = 8.0
    """For dialing a peer and its whole answer."""
    place_seconds: float = 1.0
    """After this a peer that has not answered gives its place to the next one, and is waited for beside it."""
    places: int = 32
    """Peers that are looked at together. A flood in one discovery does not keep what another finds waiting."""
    most_looked_at: int = 128
    """Those that gave their places away included."""
    pauses_seconds: tuple[float, ...] = (2.0, 8.0)
    """Before a peer that did not answer is looked at again, after all others; discoveries do not name it twice."""


@dataclass(frozen=True)
class Turn:
    """One look at what was found."""

    found: Found
    tries: int = 0
    """Looks before this one that came to nothing."""


class Turns:
    """A queue in which a peer stands once, with what was said of it last, and not while it is being looked at.

    So a peer of which there is always news delays the others by one look, and keeps one of those who look busy. Peers
    that were not looked at yet come before those that failed, and among those the ones of networks that had the
    fewest turns.
    """

    def __init__(self, bounds: SearchBounds | None = None) -> None:
        self._bounds = bounds or SearchBounds()
        self._waiting: dict[PeerId, Turn] = {}
        self._taken: dict[PeerId, float] = {}
        self._networks: Counter[str] = Counter()
        self._changed = anyio.Event()

    async def put(self, turn: Turn) -> None:
        """Queue `turn`, in place of an earlier one of that peer; waits while the queue is full."""
        peer = turn.found.peer
        while peer not in self._waiting and len(self._waiting) >= MOST_WAITING:
            await self._changed.wait()
        self._waiting[peer] = turn
        self._tell()

    async def take(self) -> Turn:
        """The next turn, once there is a place for it; :meth:`done` ends it."""
        while True:
            now = anyio.current_time()
            eligible = [turn for peer, turn in self._waiting.items() if peer not in self._taken]
            held = sorted(since for since in self._taken.values() if now - since < self._bounds.place_seconds)
            room = eligible and len(self._taken) < self._bounds.most_looked_at
            if room and len(held) < self._bounds.places:
                turn = min(eligible, key=self._rank)
                del self._waiting[turn.found.peer]
                self._taken[turn.found.peer] = now
                self._networks.update(networks_named(turn.found.addresses))
                self._tell()
                await anyio.lowlevel.checkpoint()
                return turn
            with anyio.move_on_after(held[0] + self._bounds.place_seconds - now if room else None):
                await self._changed.wait()

    def done(self, turn: Turn) -> None:
        """Let the peer of `turn` stand in the queue's order again."""
        self._taken.pop(turn.found.peer, None)
        self._tell()

    def awaits(self, peer: PeerId) -> bool:
        """Whether there is newer news of `peer`."""
        return peer in self._waiting

    def _rank(self, turn: Turn) -> tuple[int, int]:
        # An address is a stranger's word until it is dialed: the most asked one of those that it names counts.
        return turn.tries, max(self._networks[network] for network in networks_named(turn.found.addresses))

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
