"""The memory that jobs which run at once may have together."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator

import anyio


class RunningMemory:
    """At most `most` bytes are held at once. First come, first served; what is larger than `most` is held alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    @contextlib.asynccontextmanager
    async def held(self, size: int) -> AsyncIterator[None]:
        """Waits until there is room for `size` bytes (:func:`plasm.memory.memory_of`), and holds it for the block.

        Who may run next was decided before, so nobody passes anybody here.
        """
        if self._waiting or not self._has_room(size):
            await self._wait(size)
        else:
            self._held += size
        try:
            yield
        finally:
            self._give_back(size)

    def _has_room(self, size: int) -> bool:
        return not self._held or self._held + size <= self._most

    async def _wait(self, size: int) -> None:
        turn = (size, anyio.Event())
        self._waiting.append(turn)
        try:
            await turn[1].wait()
        except BaseException:
            if turn[1].is_set():
                self._give_back(size)
            else:
                self._waiting.remove(turn)
                self._give_back(0)
            raise

    def _give_back(self, size: int) -> None:
        self._held -= size
        while self._waiting and self._has_room(self._waiting[0][0]):
            next_size, come = self._waiting.popleft()
            self._held += next_size
            come.set()
