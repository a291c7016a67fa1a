"""Which piece is to be fetched next, and from whom: the queue that every source pulls from. No input and no output."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from typing import Final

MOST_TAKERS: Final = 2
"""Of one piece at once: what comes twice costs its bytes twice."""


@dataclass
class _Taken:
    since: float
    takers: list[Hashable] = field(default_factory=list)


class PieceQueue:
    """The pieces 0 to `count` - 1, without those that are `whole` already. Not for two threads at once."""

    def __init__(self, count: int, whole: Collection[int] = ()) -> None:
        self._left = {number for number in range(count) if number not in whole}
        self._waiting = deque(sorted(self._left))
        self._taken: dict[int, _Taken] = {}
        self._count = count
        self._front = 0

    @property
    def finished(self) -> bool:
        """Whether every piece is there."""
        return not self._left

    @property
    def first_missing(self) -> int | None:
        """The lowest number of a piece that is not there."""
        while self._front < self._count and self._front not in self._left:
            self._front += 1
        return self._front if self._front < self._count else None

    def is_left(self, number: int) -> bool:
        """Whether the piece is not there yet."""
        return number in self._left

    def take(self, source: Hashable, now: float, patience: float = 0.0, too_late: float = math.inf) -> int | None:
        """The next piece for `source`; ``None`` where there is none for it at the moment.

        One that another source has had for more than `too_late` seconds goes before all that wait: it holds up whoever
        wants the pieces in order. Where none waits any longer it is one that another has had for more than `patience`
        seconds. Either way it is the one that has been under way the longest.
        """
        late = self._late(source, now, too_late if self._waiting else min(patience, too_late))
        if late is not None:
            self._taken[late].takers.append(source)
            return late
        if not self._waiting:
            return None
        number = self._waiting.popleft()
        self._taken[number] = _Taken(now, [source])
        return number

    def _late(self, source: Hashable, now: float, seconds: float) -> int | None:
        """What has been under way the longest, for more than `seconds`, and may be fetched by `source` too."""
        late = [
            (taken.since, number)
            for number, taken in self._taken.items()
            if source not in taken.takers and len(taken.takers) < MOST_TAKERS and now - taken.since > seconds
        ]
        return min(late)[1] if late else None

    def arrived(self, number: int, source: Hashable) -> list[Hashable]:
        """The piece is there, by `source`: who else has it under way, for nothing now."""
        self._left.discard(number)
        taken = self._taken.pop(number, None)
        return [each for each in taken.takers if each != source] if taken is not None else []

    def give_back(self, number: int, source: Hashable) -> None:
        """`source` did not bring the piece: it waits again, before all others, unless someone else has it too."""
        taken = self._taken.get(number)
        if taken is None or source not in taken.takers:
            return
        taken.takers.remove(source)
        if not taken.takers:
            del self._taken[number]
            if number in self._left:
                self._waiting.appendleft(number)
