"""What is kept of jobs that have ended: how much of whom, in memory, so that no bound needs a look at the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from plasm.jobs.records import OWN
from plasm.shares import Origin, Shares


class Kept(NamedTuple):
    """The end of a job: how many bytes it holds, and when it was, by :class:`~plasm.jobs.elapsed.ElapsedTime`."""

    held: int
    ended: float


class KeptEndings:
    """Endings by origin, the oldest first. Those of the node's own user give way last."""

    def __init__(self, max_bytes: int, max_endings: int) -> None:
        self._max_bytes = max_bytes
        self._max_endings = max_endings
        self._origins: dict[bytes, Origin] = {}
        self._alike: dict[Origin, Origin] = {}
        """One for all that are equal: each job brings one of its own, which would be most of what is held for it."""
        self._endings: dict[Origin, dict[bytes, Kept]] = {}
        self._held_bytes = 0
        self._by_bytes: Shares | None = None
        self._by_number: Shares | None = None
        """What each origin has, once something had to go: until then nobody needs to know."""

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._origins

    def __len__(self) -> int:
        return len(self._origins)

    @property
    def held_bytes(self) -> int:
        """Of all of them."""
        return self._held_bytes

    def add(self, identity: bytes, origin: Origin, kept: Kept) -> None:
        """A job of `origin` has ended last."""
        if identity in self._origins:
            self.remove(identity)
        origin = self._alike.setdefault(origin, origin)
        self._origins[identity] = origin
        self._endings.setdefault(origin, {})[identity] = kept
        self._count(origin, 1, kept.held)

    def remove(self, identity: bytes) -> tuple[Origin, Kept]:
        """The end of the job is kept no longer; what was. Raises :exc:`KeyError` where it was not kept."""
        origin = self._origins.pop(identity)
        endings = self._endings[origin]
        kept = endings.pop(identity)
        if not endings:
            del self._endings[origin], self._alike[origin]
        self._count(origin, -1, -kept.held)
        return origin, kept

    def above(self, coming_bytes: int, coming: int = 1) -> bytes | None:
        """What goes first where there is no room for what comes: the oldest of whoever holds most.

        What comes is not held against it, and so never goes for being large.
        """
        if self._held_bytes + coming_bytes > self._max_bytes:
            shares = self._by_bytes = self._by_bytes or self._summed(lambda kept: kept.held)
        elif len(self) + coming > self._max_endings:
            shares = self._by_number = self._by_number or self._summed(lambda kept: 1)
        else:
            return None
        return next(iter(self._endings.get(shares.greediest() or OWN, ())), None)

    def _summed(self, measure: Callable[[Kept], int]) -> Shares:
        shares = Shares()
        for origin, endings in self._endings.items():
            if origin is not OWN:
                shares.take(origin, sum(map(measure, endings.values())))
        return shares

    def before(self, moment: float) -> bytes | None:
        """One that ended before `moment`; ``None`` where none did."""
        for endings in self._endings.values():
            identity, kept = next(iter(endings.items()))
            if kept.ended < moment:
                return identity
        return None

    def _count(self, origin: Origin, number: int, held: int) -> None:
        self._held_bytes += held
        if origin is OWN:
            return
        for shares, amount in ((self._by_bytes, held), (self._by_number, number)):
            if shares is not None and number > 0:
                shares.take(origin, amount)
            elif shares is not None:
                shares.give(origin, -amount)
