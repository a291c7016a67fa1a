"""Turns: whoever waits is served by network, by what each has used, then by address, then by identity."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from plasm.shares import Origin

T = TypeVar("T")

_HALF_LIFE_SECONDS: Final = 30.0
"""Of what is known of the jobs of a network."""
_UNKNOWN_SECONDS: Final = 0.05
"""What the first job of a network is expected to take: most take less, and what it takes in the end is what counts."""
_MOST_NETWORKS: Final = 4096


class Usage:
    """Whose turn it is to use the slots, and for how long jobs of a network hold one.

    Start-time fair queueing (P. Goyal, H. Vin and H. Cheng, 1996; with several servers W. Jin, J. Chase and J. Kaur,
    "Interposed Proportional Sharing", 2004). In a time that is made of service alone each job of a network starts where
    its last one ended, or at this moment if that is later, and the one that starts first is next. So a network that
    sends short jobs has more turns than one that sends long ones, and what a network used while nobody else wanted it
    is not held against it.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._virtual = 0.0
        """The start of whatever began last."""
        self._ends: OrderedDict[str, float] = OrderedDict()
        """Of what each network used last, in that time."""
        self._lately: OrderedDict[str, tuple[float, float, float]] = OrderedDict()
        """Seconds and jobs, both halved in every :data:`_HALF_LIFE_SECONDS`, and when they were counted last."""
        self._begun = 0

    def start(self, network: str) -> float:
        """Of the next job of `network`, in the time of service."""
        return max(self._ends.get(network, 0.0), self._virtual)

    def begin(self, network: str) -> float:
        """A job of `network` has its turn; for how many seconds it is expected to, which :meth:`end` is told."""
        each = self.each(network)
        expected = each if each < math.inf else _UNKNOWN_SECONDS
        self._virtual = self.start(network)
        self._move(network, self._virtual + expected)
        self._begun += 1
        return expected

    def end(self, network: str, seconds: float, expected: float) -> None:
        """It held its slot for `seconds`."""
        self.give_back(network, expected - seconds)
        now = self._now()
        used, jobs, at = self._lately.get(network, (0.0, 0.0, 0.0))
        left = 0.5 ** ((now - at) / _HALF_LIFE_SECONDS) if jobs else 0.0
        self._lately[network] = (used * left + seconds, jobs * left + 1, now)
        self._lately.move_to_end(network)
        if len(self._lately) > _MOST_NETWORKS:
            self._lately.popitem(last=False)

    def give_back(self, network: str, seconds: float) -> None:
        """A turn is over of which so much was not used."""
        self._move(network, self.start(network) - seconds)
        self._begun -= 1

    def rest(self) -> None:
        """Nobody waits: if nothing runs either, all that was used is forgotten."""
        if not self._begun:
            self._ends.clear()

    def each(self, network: str) -> float:
        """For how long a job of `network` held its slot lately; infinite where nothing is known of it."""
        used, jobs, _ = self._lately.get(network, (0.0, 0.0, 0.0))
        return used / jobs if jobs else math.inf

    def _move(self, network: str, end: float) -> None:
        self._ends[network] = end
        self._ends.move_to_end(network)
        if len(self._ends) > _MOST_NETWORKS:
            self._ends.popitem(last=False)


class OriginTurns(Generic[T]):
    """What waits, first come first served for each origin (``specs/decisions/0012-strangers-share-by-network.md``).

    The network `first` takes no turns: what waits there goes before all others. Of the rest those come first of which
    `start` says least, and among equals whoever had a turn longest ago.
    """

    def __init__(self, first: str = "", start: Callable[[str], float] = lambda network: 0.0) -> None:
        self._networks: _Ring[T] = {}
        self._start = start
        self._first = first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        """All that wait, in the order in which :meth:`pop` gives them if none comes in between."""
        ring = dict(self._networks)
        below = ring.pop(self._first, None)
        if isinstance(below, dict):
            yield from _in_turn(below)
        yield from _in_turn({network: ring[network] for network in sorted(ring, key=self._start)})

    def push(self, origin: Origin, item: T) -> None:
        """`item` waits behind all others of `origin`."""
        ring = self._networks
        for part in origin[:-1]:
            ring = ring.setdefault(part, {})  # type: ignore[assignment]
        ring.setdefault(origin.peer, deque()).append(item)  # type: ignore[union-attr]
        self._count += 1

    def pop(self, takes: Callable[[T], bool] = lambda item: True) -> T | None:
        """The next of those that `takes` is true of; ``None`` where there is none."""
        if not self._count:
            return None
        found = _pop(self._networks, takes, self._by_use())
        if found is None:
            return None
        self._count -= 1
        return found[0]

    def remove(self, origin: Origin, item: T) -> bool:
        """Have `item` of `origin` wait no longer; false where it did not."""
        rings: list[_Ring[T]] = [self._networks]
        for part in origin[:-1]:
            below = rings[-1].get(part)
            if not isinstance(below, dict):
                return False
            rings.append(below)
        items = rings[-1].get(origin.peer)
        if not isinstance(items, deque) or item not in items:
            return False
        items.remove(item)
        self._count -= 1
        for ring, part in zip(reversed(rings), reversed(origin), strict=True):
            if ring[part]:
                break
            del ring[part]
        return True

    def _by_use(self) -> list[str]:
        if len(self._networks) < 2:
            return list(self._networks)
        return sorted(self._networks, key=lambda network: -1.0 if network == self._first else self._start(network))


_Ring = dict[str, "_Ring[T] | deque[T]"]
"""By network, address and identity, whose turn is next first."""


def _pop(ring: _Ring[T], takes: Callable[[T], bool], order: Iterable[str]) -> tuple[T] | None:
    for part in order:
        below = ring[part]
        if isinstance(below, dict):
            found = _pop(below, takes, list(below))
        else:
            found = next(((item,) for item in below if takes(item)), None)
            if found is not None:
                below.remove(found[0])
        if found is not None:
            # Its next turn is behind all others.
            del ring[part]
            if below:
                ring[part] = below
            return found
    return None


def _in_turn(ring: _Ring[T]) -> Iterator[T]:
    waiting = deque(_in_turn(below) if isinstance(below, dict) else iter(below) for below in ring.values())
    nothing = object()
    while waiting:
        items = waiting.popleft()
        item = next(items, nothing)
        if item is not nothing:
            waiting.append(items)
            yield item  # type: ignore[misc]
