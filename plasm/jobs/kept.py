"""What is kept of jobs that have ended: how much of whom, in memory, so that no bound needs a look at the disk."""

from __future__ import annotations

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
        self._bytes = Shares()
        self._number = Shares()
        self._own_bytes = 0

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._origins

    def __len__(self) -> int:
        return len(self._origins)

    @property
    def held_bytes(self) -> int:
        """Of all of them."""
        return self._bytes.total + self._own_bytes

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
        if self.held_bytes + coming_bytes > self._max_bytes:
            greediest = self._bytes.greediest()
        elif len(self) + coming > self._max_endings:
            greediest = self._number.greediest()
        else:
            return None
        return next(iter(self._endings.get(greediest or OWN, ())), None)

    def before(self, moment: float) -> bytes | None:
        """One that ended before `moment`; ``None`` where none did."""
        for endings in self._endings.values():
            identity, kept = next(iter(endings.items()))
            if kept.ended < moment:
                return identity
        return None

    def _count(self, origin: Origin, number: int, held: int) -> None:
        if origin is OWN:
            self._own_bytes += held
        elif number > 0:
            self._number.take(origin, number)
            self._bytes.take(origin, held)
        else:
            self._number.give(origin, -number)
            self._bytes.give(origin, -held)
