"""Turns: whoever waits is served networks in turn, then the addresses of each, then the identities."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from plasm.shares import Origin

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, first come first served for each origin (``specs/decisions/0012-strangers-share-by-network.md``).

    The network `first` takes no turns: what waits there goes before all others.
    """

    def __init__(self, first: str = "") -> None:
        self._networks: _Ring[T] = {}
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
        yield from _in_turn(ring)

    def push(self, origin: Origin, item: T) -> None:
        """`item` waits behind all others of `origin`."""
        ring = self._networks
        for part in origin.path[:-1]:
            ring = ring.setdefault(part, {})  # type: ignore[assignment]
        ring.setdefault(origin.peer, deque()).append(item)  # type: ignore[union-attr]
        self._count += 1

    def pop(self, takes: Callable[[T], bool] = lambda item: True) -> T | None:
        """The next of those that `takes` is true of; ``None`` where there is none."""
        self._put_first()
        found = _pop(self._networks, takes)
        if found is None:
            return None
        self._count -= 1
        return found[0]

    def remove(self, origin: Origin, item: T) -> bool:
        """Have `item` of `origin` wait no longer; false where it did not."""
        rings: list[_Ring[T]] = [self._networks]
        for part in origin.path[:-1]:
            below = rings[-1].get(part)
            if not isinstance(below, dict):
                return False
            rings.append(below)
        items = rings[-1].get(origin.peer)
        if not isinstance(items, deque) or item not in items:
            return False
        items.remove(item)
        self._count -= 1
        for ring, part in zip(reversed(rings), reversed(origin.path), strict=True):
            if ring[part]:
                break
            del ring[part]
        return True

    def _put_first(self) -> None:
        below = self._networks.pop(self._first, None)
        if below is not None:
            self._networks = {self._first: below, **self._networks}


_Ring = dict[str, "_Ring[T] | deque[T]"]
"""By network, address and identity, whose turn is next first."""


def _pop(ring: _Ring[T], takes: Callable[[T], bool]) -> tuple[T] | None:
    for part, below in ring.items():
        if isinstance(below, dict):
            found = _pop(below, takes)
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
