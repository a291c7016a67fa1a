"""Frames: an unsigned varint length and as many bytes (multiformats' unsigned-varint, in its shortest form).

The decoder does no I/O and holds at most one frame and one read; a length above the cap is refused before any memory is
taken for it.
"""

from __future__ import annotations

from typing import Protocol

MAX_FRAME = 576 * 1024
"""A chunk of bulk bytes with room for what surrounds it."""
MAX_CHUNK = 512 * 1024
_LONGEST_PREFIX = 4
_READ_BYTES = 256 * 1024


class FrameError(Exception):
    """What arrived is not a frame; the stream is of no further use."""


class FrameCut(FrameError):
    """The stream ended where a frame, or the rest of one, was due."""


class ByteSource(Protocol):
    """The receiving half of a stream."""

    async def receive(self, max_bytes: int = ..., /) -> bytes: ...


def encode_frame(body: bytes) -> bytes:
    """`body` with its length before it. Raises :exc:`FrameError` above the cap."""
    length = len(body)
    if length > MAX_FRAME:
        raise FrameError(f"a frame of {length} bytes is over the cap of {MAX_FRAME}")
    prefix = bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + body


class FrameDecoder:
    """Takes bytes as they come and gives frames as they complete."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        self._buffer += data

    @property
    def empty(self) -> bool:
        """Whether no part of a frame is held: the other side may end here."""
        return not self._buffer

    def next_frame(self) -> bytes | None:
        """The next whole frame's body, or ``None`` until more arrives. Raises :exc:`FrameError`."""
        length = shift = used = 0
        while True:
            if used == len(self._buffer):
                return None
            byte = self._buffer[used]
            used += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if used == _LONGEST_PREFIX:
                raise FrameError("a length prefix of more than four bytes")
        if used > 1 and byte == 0:
            raise FrameError("a length prefix that is not in its shortest form")
        if length > self._max_frame:
            raise FrameError(f"a frame of {length} bytes is over the cap of {self._max_frame}")
        if len(self._buffer) < used + length:
            return None
        body = bytes(self._buffer[used : used + length])
        del self._buffer[: used + length]
        return body


class FrameReader:
    """Reads frames from a stream. Deadlines are the caller's."""

    def __init__(self, stream: ByteSource, max_frame: int = MAX_FRAME) -> None:
        self._stream = stream
        self._decoder = FrameDecoder(max_frame)

    def ready(self) -> bytes | None:
        """The next frame's body where it is here already, else ``None``. Raises :exc:`FrameError`."""
        return self._decoder.next_frame()

    async def receive(self) -> bytes | None:
        """The next frame's body, or ``None`` where the other side ended between frames. Raises :exc:`FrameError`."""
        while (body := self._decoder.next_frame()) is None:
            data = await self._stream.receive(_READ_BYTES)
            if not data:
                if self._decoder.empty:
                    return None
                raise FrameCut("the stream ended inside a frame")
            self._decoder.feed(data)
        return body
