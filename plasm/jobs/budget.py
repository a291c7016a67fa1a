"""A budget of bytes that strangers share: each takes a part when it is there, in turn, and gives it back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio

from plasm.shares import Origin, Shares, has_room


@dataclass(eq=False)
class _Turn:
    origin: Origin
    size: int
    come: anyio.Event = field(default_factory=anyio.Event)


class Budget:
    """At most `ceiling` bytes are taken at once, or else a single part; beyond `most` networks share it evenly.

    Who asked first comes first; whoever has its share taken lets those behind it pass.
    """

    def __init__(self, ceiling: int, most: int) -> None:
        self._ceiling = ceiling
        self._most = most
        self._taken = Shares()
        self._waiting: list[_Turn] = []

    @contextlib.asynccontextmanager
    async def part(self, origin: Origin, size: int, seconds: float) -> AsyncIterator[None]:
        """Hold `size` bytes of it. Raises :exc:`TimeoutError` where they are not free within `seconds`."""
        turn = _Turn(origin, size)
        self._waiting.append(turn)
        self._give()
        try:
            if not turn.come.is_set():
                with anyio.fail_after(seconds):
                    await turn.come.wait()
            yield
        finally:
            if turn.come.is_set():
                self._taken.give(origin, size)
            else:
                self._waiting.remove(turn)
            self._give()

    def _give(self) -> None:
        for turn in list(self._waiting):
            if not has_room(self._taken, turn.origin, turn.size, most=self._most, ceiling=self._ceiling):
                if self._taken.of(turn.origin.network):
                    continue
                # Passed by smaller ones for ever, a large part would never find room.
                return
            self._waiting.remove(turn)
            self._taken.take(turn.origin, turn.size)
            turn.come.set()
