"""The memory that jobs which run at once may have together."""

from __future__ import annotations

from collections import deque

import anyio


class RunningMemory:
    """At most `most` bytes are held at once. First come, first served; what is larger than `most` is held alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    def held(self, size: int) -> _Part:
        """Waits until there is room for `size` bytes (:func:`plasm.memory.memory_of`), and holds it for the block.

        Who may run next was decided before, so nobody passes anybody here.
        """
        return _Part(self, size)

    async def _take(self, size: int) -> None:
        if self._waiting or not self._has_room(size):
            await self._wait(size)
        else:
            self._held += size

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


class _Part:
    # Written out, since a generator costs each job several times as much.
    def __init__(self, memory: RunningMemory, size: int) -> None:
        self._memory = memory
        self._size = size

    async def __aenter__(self) -> None:
        await self._memory._take(self._size)

    async def __aexit__(self, *raised: object) -> None:
        self._memory._give_back(self._size)
