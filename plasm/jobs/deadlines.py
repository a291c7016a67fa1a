"""Deadlines of many streams, looked at together.

A cancel scope with a deadline of its own costs an answer more than most of what it waits for, and nearly every wait
ends long before its deadline.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator

import anyio

from plasm.ports import PeerId, Stream

_LOOK_SECONDS = 0.5


class TimedStream:
    """A :class:`~plasm.ports.Stream` whose sending has a deadline, and whose receiving has one while it is expected."""

    def __init__(self, stream: Stream, send_seconds: float) -> None:
        self._stream = stream
        self._send_seconds = send_seconds
        # To ask a protocol that may be checked at runtime costs more than to charge.
        self.charge: Callable[[int], Awaitable[None]] | None = getattr(stream, "charge", None)
        self.scope = anyio.CancelScope()
        self.due = math.inf
        """When the present wait has taken too long, by the event loop's clock."""

    @property
    def peer(self) -> PeerId:
        return self._stream.peer

    def expect(self, seconds: float) -> None:
        """Something has to arrive within `seconds`; infinity for no deadline."""
        self.due = anyio.current_time() + seconds

    async def send(self, data: bytes) -> None:
        self.due = anyio.current_time() + self._send_seconds
        await self._stream.send(data)
        self.due = math.inf

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def reset(self) -> None:
        await self._stream.reset()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Deadlines:
    """Of the streams of one node. They hold while :meth:`watch` runs."""

    def __init__(self) -> None:
        self._streams: set[TimedStream] = set()

    @contextlib.contextmanager
    def of(self, stream: Stream, send_seconds: float) -> Iterator[TimedStream]:
        """The same stream with deadlines. Raises :exc:`TimeoutError` where one passed, somewhat later than it was."""
        timed = TimedStream(stream, send_seconds)
        self._streams.add(timed)
        try:
            with timed.scope:
                yield timed
        finally:
            self._streams.discard(timed)
        if timed.scope.cancelled_caught:
            raise TimeoutError

    async def watch(self) -> None:
        """Look for waits that take too long, until cancelled."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            now = anyio.current_time()
            for timed in self._streams:
                if timed.due <= now:
                    timed.scope.cancel()
