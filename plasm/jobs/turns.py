"""Turns: whoever waits is served by network, then by address, then by identity, whoever used least before others."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from plasm.shares import Origin

T = TypeVar("T")

_HALF_LIFE_SECONDS: Final = 30.0
"""Of what a network has used: long enough to tell one who asks all the time from one who asks now and then."""
_MOST_NETWORKS: Final = 4096


class Usage:
    """What networks used of the slots lately, in seconds; it halves in every :data:`_HALF_LIFE_SECONDS`.

    A network that sends short jobs has more turns than one that sends long ones, as in fair queueing (A. Demers et al.,
    "Analysis and Simulation of a Fair Queueing Algorithm", 1989). Were jobs counted alone, long ones would keep short
    ones waiting.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._used: OrderedDict[str, tuple[float, float, float]] = OrderedDict()
        """Seconds and jobs, and when they were counted last."""

    def add(self, network: str, seconds: float) -> None:
        """A job of `network` held a slot for `seconds`."""
        now = self._now()
        used, jobs = self._left(network, now)
        self._used[network] = (used + seconds, jobs + 1, now)
        self._used.move_to_end(network)
        if len(self._used) > _MOST_NETWORKS:
            self._used.popitem(last=False)

    def of(self, network: str) -> float:
        """What `network` used lately."""
        return self._left(network, self._now())[0]

    def each(self, network: str) -> float:
        """For how long a job of `network` held its slot lately; infinite where nothing is known of it."""
        used, jobs, _ = self._used.get(network, (0.0, 0.0, 0.0))
        return used / jobs if jobs else math.inf

    def _left(self, network: str, now: float) -> tuple[float, float]:
        used, jobs, at = self._used.get(network, (0.0, 0.0, 0.0))
        if not jobs:
            return 0.0, 0.0
        left = 0.5 ** ((now - at) / _HALF_LIFE_SECONDS)
        return used * left, jobs * left


class OriginTurns(Generic[T]):
    """What waits, first come first served for each origin (``specs/decisions/0012-strangers-share-by-network.md``).

    The network `first` takes no turns: what waits there goes before all others. Of the rest those come first of which
    `used` says least, and among equals whoever had a turn longest ago.
    """

    def __init__(self, first: str = "", used: Callable[[str], float] = lambda network: 0.0) -> None:
        self._networks: _Ring[T] = {}
        self._used = used
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
        yield from _in_turn({network: ring[network] for network in sorted(ring, key=self._used)})

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
        return sorted(self._networks, key=lambda network: -1.0 if network == self._first else self._used(network))


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
