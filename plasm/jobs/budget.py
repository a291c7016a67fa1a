"""A budget of bytes that many share: each takes a part when it is there, in turn, and gives it back."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio

from plasm.ports import PeerId


@dataclass(eq=False)
class _Turn:
    peer: PeerId
    size: int
    come: anyio.Event = field(default_factory=anyio.Event)


class Budget:
    """At most `most` bytes are taken at once, and by one peer at most `most_of_one` or else a single part.

    Who asked first comes first; a peer that has its share taken lets those behind it pass.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken: Counter[PeerId] = Counter()
        self._waiting: list[_Turn] = []

    @contextlib.asynccontextmanager
    async def part(self, peer: PeerId, size: int, seconds: float) -> AsyncIterator[None]:
        """Hold `size` bytes of it. Raises :exc:`TimeoutError` where they are not free within `seconds`."""
        turn = _Turn(peer, size)
        self._waiting.append(turn)
        self._give()
        try:
            with anyio.fail_after(seconds):
                await turn.come.wait()
            yield
        finally:
            if turn.come.is_set():
                self._taken[peer] -= size
                if self._taken[peer] <= 0:
                    del self._taken[peer]
            else:
                self._waiting.remove(turn)
            self._give()

    def _give(self) -> None:
        taken = self._taken.total()
        for turn in list(self._waiting):
            of_one = self._taken[turn.peer]
            if of_one and of_one + turn.size > self._most_of_one:
                continue
            if taken and taken + turn.size > self._most:
                # Passed by smaller ones for ever, a large part would never find room.
                return
            self._waiting.remove(turn)
            self._taken[turn.peer] += turn.size
            taken += turn.size
            turn.come.set()
