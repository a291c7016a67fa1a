"""Sending: bytes and files in slices, to a client that must take them at a least rate."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable
from typing import Final

import trio

from plasm_provider.httpd.limits import Limits
from plasm_provider.httpd.messages import FileBody
from plasm_provider.httpd.ranges import Span

SLICE_BYTES: Final = 2**19
"""Of one call to sendfile: a fraction of a millisecond where the file is in memory. Larger ones gain nothing, and
others wait longer (``specs/decisions/0009-the-providers-http-server.md``)."""
_TOGETHER_BYTES: Final = 16 * 2**10
"""A document up to this length is copied behind its head, so that both are one call and one segment."""
_READERS: Final = 4
"""Slices that are read from a disk at once."""
_CANNOT_TELL: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class TooSlow(Exception):
    """The client takes less than the least rate."""


class Changed(Exception):
    """The file is no longer what the head of the answer says it is."""


class Pace:
    """Waits until a client takes more, and not for one that takes nearly nothing.

    What counts is what the client's system has acknowledged, not what lies in this system's buffers.
    """

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._connection = connection
        self._every = limits.pace_seconds
        self._least = limits.least_rate
        self._handed = 0
        self._taken = -self._queued()
        self._since = trio.current_time()

    def handed(self, count: int) -> None:
        """`count` bytes more were handed to the operating system."""
        self._handed += count

    async def writable(self) -> None:
        """Return when the system takes more. Raises :exc:`TooSlow`."""
        while True:
            with trio.move_on_at(self._since + self._every) as waiting:
                await trio.lowlevel.wait_writable(self._connection.fileno())
            self._look()
            if not waiting.cancelled_caught:
                return

    def _look(self) -> None:
        now = trio.current_time()
        if now < self._since + self._every:
            return
        queued = self._queued()
        taken = self._handed - queued
        # A client that has taken all that there was is not the one that is slow.
        if queued and taken - self._taken < self._least * (now - self._since):
            raise TooSlow
        self._taken, self._since = taken, now

    def _queued(self) -> int:
        """Bytes that the client has not acknowledged."""
        (queued,) = struct.unpack("@i", fcntl.ioctl(self._connection, termios.TIOCOUTQ, bytes(4)))
        return int(queued)


class Sender:
    """Sends to any number of connections of one server."""

    def __init__(self, limits: Limits, sent: Callable[[int], None]) -> None:
        self._limits = limits
        self._sent = sent
        self._readers = trio.CapacityLimiter(_READERS)

    async def send(self, connection: socket.socket, head: bytes, body: bytes | FileBody) -> None:
        """Send `head`, and then `body`. Raises :exc:`TooSlow`, :exc:`Changed` or :exc:`OSError`."""
        pace = Pace(connection, self._limits)
        if isinstance(body, bytes) and len(body) <= _TOGETHER_BYTES:
            await self._bytes(connection, head + body, pace, 0)
            return
        # So that a head and the beginning of what follows share a segment, and no small one waits for an answer.
        await self._bytes(connection, head, pace, socket.MSG_MORE)
        if isinstance(body, bytes):
            # As it is: a copy for each of many slow clients would be theirs to fill the memory with.
            await self._bytes(connection, body, pace, 0)
            return
        for part in body.parts:
            if isinstance(part, Span):
                await self._span(connection, body, part, pace)
            else:
                await self._bytes(connection, part, pace, 0)

    async def _bytes(self, connection: socket.socket, data: bytes, pace: Pace, flags: int) -> None:
        view = memoryview(data)
        while view:
            try:
                count = connection.send(view, flags)
            except BlockingIOError:
                await pace.writable()
                continue
            pace.handed(count)
            self._sent(count)
            view = view[count:]

    async def _span(self, connection: socket.socket, body: FileBody, span: Span, pace: Pace) -> None:
        offset = span.offset
        while offset < span.end:
            length = min(SLICE_BYTES, span.end - offset)
            if not body.unchanged(body.descriptor):
                raise Changed
            if not _in_memory(body.descriptor, offset + length - 1):
                # A disk may take its time; sendfile would hold all connections meanwhile.
                await trio.to_thread.run_sync(os.pread, body.descriptor, length, offset, limiter=self._readers)
            try:
                count = os.sendfile(connection.fileno(), body.descriptor, offset, length)
            except BlockingIOError:
                await pace.writable()
                continue
            if count == 0:
                raise Changed  # the file has become shorter
            pace.handed(count)
            self._sent(count)
            offset += count
            await trio.lowlevel.checkpoint()


def _in_memory(descriptor: int, offset: int) -> bool:
    """Whether the byte at `offset` is in the page cache, as far as the file system can tell."""
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _CANNOT_TELL:
            return True
        raise
