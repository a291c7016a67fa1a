"""One stream of a Yamux connection."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from plasm_libp2p.budget import RESET_UNITS

if TYPE_CHECKING:
    from plasm_libp2p.yamux import YamuxConnection

INITIAL_WINDOW = 256 * 1024
LARGEST_CREDIT = 2**32 - 1
LARGEST_BURST = 256 * 1024
"""Of one stream in one system call."""
READ_SLICE = 16 * 1024
"""What py-libp2p gets from one read: its unbounded reads stop after a hundred of them."""
SMALL = 16 * 1024
"""Sent without letting others run first: who sends more of it waits for credit before long."""
LARGEST_LEFTOVER = 1024 * 1024
"""What a peer may still send on a stream that was closed here before it is reset."""


class YamuxStream(IMuxedStream):
    """One stream; ``read`` and ``write`` are py-libp2p's, ``receive`` and ``send`` ours."""

    muxed_conn: YamuxConnection

    def __init__(self, connection: YamuxConnection, identifier: int, *, outbound: bool) -> None:
        self.muxed_conn = connection
        self.stream_id = identifier
        self.outbound = outbound
        self.send_credit = INITIAL_WINDOW
        self.window = INITIAL_WINDOW
        self.receive_credit = INITIAL_WINDOW
        self.unread = bytearray()
        self.finished_sending = False
        self.finished_receiving = False
        self.broken = False
        """Nothing can be sent any more."""
        self.cut_off = False
        """What the peer sent did not arrive to its end."""
        self.touched = False
        """Whether the peer sent data on it."""
        self._left = False
        self._leftover = 0
        self._changed = trio.Event()
        self._credited = trio.Event()

    # --- for the application ---------------------------------------------------------------------------------------

    async def receive(self, most: int) -> bytes:
        """Up to `most` bytes; ``b""`` at the end. Raises :exc:`MuxedStreamReset`."""
        if self.unread or self.finished_receiving:
            await trio.lowlevel.checkpoint()
        while not self.unread:
            if self.cut_off:
                raise MuxedStreamReset("the stream was reset")
            if self.finished_receiving:
                return b""
            if self._changed.is_set():
                self._changed = trio.Event()
            await self._changed.wait()
        return self.receive_nowait(most)

    def receive_nowait(self, most: int) -> bytes:
        """Up to `most` bytes of what has arrived; ``b""`` where nothing has."""
        if len(self.unread) <= most:
            data = bytes(self.unread)
            self.unread.clear()
        else:
            data = bytes(self.unread[:most])
            del self.unread[:most]
        if data:
            self.muxed_conn.consumed(self, len(data))
        return data

    async def send(self, data: bytes) -> None:
        """All of `data`. Raises :exc:`MuxedStreamClosed` or :exc:`MuxedStreamReset`."""
        start, total = 0, len(data)
        while True:
            await self.muxed_conn.uncongested(yielding=total > SMALL)
            if self.broken:
                raise MuxedStreamReset("the stream was reset")
            if self.finished_sending:
                raise MuxedStreamClosed("the stream is closed for sending")
            burst = min(total - start, self.send_credit, LARGEST_BURST)
            if burst:
                self.send_credit -= burst
                self.muxed_conn.send_data(self.stream_id, data if burst == total else data[start : start + burst])
                start += burst
            if start == total:
                return
            if not self.send_credit:
                if self._credited.is_set():
                    self._credited = trio.Event()
                await self._credited.wait()

    def finish(self) -> None:
        """Half-close: nothing more is sent. Idempotent."""
        if not self.finished_sending:
            self.finished_sending = True
            self.muxed_conn.send_fin(self.stream_id)
            self.muxed_conn.forget_if_done(self)

    def leave(self) -> None:
        """Close in order: what the peer still sends is dropped. Idempotent."""
        self._left = True
        self.finish()
        if self.unread:
            count = len(self.unread)
            self.unread.clear()
            self.muxed_conn.consumed(self, count)
        self._changed.set()

    def abandon(self) -> None:
        """Reset. Idempotent, never raises and never waits."""
        if not (self.finished_sending and self.finished_receiving):
            self.muxed_conn.send_rst(self.stream_id)
            if not self.outbound:
                self.muxed_conn.owe(RESET_UNITS)
        self.muxed_conn.drop(self)
        self.cut_off = True
        self.lost()

    # --- for the connection ----------------------------------------------------------------------------------------

    def credit(self, increment: int) -> None:
        """The peer is ready to take `increment` bytes more."""
        self.send_credit = min(self.send_credit + increment, LARGEST_CREDIT)
        self._credited.set()

    def arrived(self, data: bytes) -> None:
        """The peer sent `data`."""
        self.touched = True
        if self._left:
            self._leftover += len(data)
            self.muxed_conn.consumed(self, len(data))
            if self._leftover > LARGEST_LEFTOVER:
                self.abandon()
            return
        self.unread += data
        self._changed.set()

    def ended(self) -> None:
        """The peer sends nothing more."""
        self.finished_receiving = True
        self._changed.set()
        self.muxed_conn.forget_if_done(self)

    def reset_by_peer(self) -> None:
        """The peer gave the stream up. What had arrived can still be read."""
        if not self.outbound:
            self.muxed_conn.owe(RESET_UNITS)
        self.muxed_conn.forget(self)
        self.cut_off = True
        self.lost()

    def lost(self) -> None:
        """The connection is gone. What had arrived can still be read."""
        self.cut_off = self.cut_off or not self.finished_receiving
        self.broken = self.finished_sending = self.finished_receiving = True
        self._changed.set()
        self._credited.set()

    # --- what py-libp2p calls --------------------------------------------------------------------------------------

    async def read(self, n: int | None = None) -> bytes:
        data = await self.receive(READ_SLICE if n is None or n < 0 else min(n, READ_SLICE))
        if not data and n != 0:
            raise MuxedStreamEOF("the end of the stream")
        return data

    async def write(self, data: bytes) -> None:
        await self.send(data)

    async def close_write(self) -> None:
        """Half-close."""
        self.finish()

    async def close(self) -> None:
        self.leave()

    async def reset(self) -> None:
        self.abandon()

    def set_deadline(self, ttl: int) -> None:
        raise NotImplementedError("deadlines are cancel scopes")

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.muxed_conn.get_remote_address()

    async def __aenter__(self) -> YamuxStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
