"""Yamux, the stream multiplexer.

Source: https://github.com/hashicorp/yamux/blob/master/spec.md and the libp2p Yamux specification. py-libp2p's own fails
a write after five seconds without credit, polls for credit every ten milliseconds, takes more than it gave credit for,
reports the loss of a connection as a regular end of stream, and needs some fifteen checkpoints for a frame.
"""

from __future__ import annotations

import logging
import random
import struct
from collections.abc import Awaitable, Callable

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError, MuxedStreamReset
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from plasm.shares import Allowances, origin_of
from plasm_libp2p.budget import PING_UNITS, SEARCH_UNITS, STREAM_UNITS, LoopBudget
from plasm_libp2p.failures import warn
from plasm_libp2p.muxed_stream import YamuxStream
from plasm_libp2p.noise import NoiseSession

_HEADER = struct.Struct("!BBHII")
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
NORMAL, PROTOCOL_ERROR = 0, 1

LARGEST_WINDOW = 1024 * 1024
LARGEST_FRAME = 64 * 1024
"""Of data in one frame that is sent; go-yamux's default, so that no stream holds up the others for long."""
MOST_STREAMS = 256
"""Open at once in each direction of one connection; a peer's further ones are reset."""
MOST_UNREAD = 16 * 2**20
"""Bytes that all streams of a connection may hold unread; beyond it the connection is given up."""
BATCH_UNITS = 256
"""Charged at once, after which others run; some two milliseconds of frames."""
PAYING_BYTES = 1024
"""In a data frame that is not charged: so many cost more than the frame around them."""
FUTILE_PER_SECOND = 1000.0
"""Frames that are of no use to anybody: pings, frames for streams that are not there, streams that are given up unused.
The last count fifty times. An honest peer sends a few, when one of its frames crosses a reset on the way."""
FUTILE_BURST = 10_000.0
FUTILE_STREAM = 50
KEEPALIVE_SECONDS = 15.0
PONG_SECONDS = 30.0
"""Without a frame for this long after a ping the peer is dead. TCP alone notices a vanished machine after minutes."""

_CHANCE = random.SystemRandom()


class YamuxConnection(IMuxedConn):
    """All streams with one peer over one proven connection."""

    on_close: Callable[[], Awaitable[None]] | None = None

    def __init__(
        self, conn: ISecureConn, peer_id: ID, log: logging.Logger | None = None, budget: LoopBudget | None = None
    ) -> None:
        if not isinstance(conn, NoiseSession):
            raise TypeError("only over this transport's own security")
        self.origin = origin_of(conn.get_remote_address()[0], conn.peer)
        self._budget = budget or LoopBudget()
        self._owed = 0
        """Units that were spent and not charged yet."""
        self._paid_at = 0.0
        """When all that was charged will have been waited for: no more is read from the peer before."""
        self._futile = Allowances(FUTILE_PER_SECOND, FUTILE_BURST, 1, trio.current_time)
        self.peer_id = peer_id
        self.session = conn
        self.secured_conn = conn
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.streams: dict[int, YamuxStream] = {}
        self._next_stream = 1 if conn.is_initiator else 2
        self.unread = 0
        self.inbound = 0
        self._arrivals, self._accepting = trio.open_memory_channel[YamuxStream](MOST_STREAMS)
        self._drained = trio.Event()
        self._pongs: dict[int, trio.Event] = {}
        self._next_ping = 0
        self._heard = trio.current_time()
        self.moved = self._heard
        """When the last stream was opened or the last data sent or received, on trio's clock."""
        self._tasks = trio.CancelScope()
        self._log = log or logging.getLogger(__name__)

    @property
    def is_initiator(self) -> bool:
        return self.session.is_initiator

    @property
    def is_closed(self) -> bool:
        return self.event_closed.is_set()

    @property
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self.is_closed

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self.session.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT

    def get_remote_address(self) -> tuple[str, int]:
        return self.session.get_remote_address()

    async def start(self) -> None:
        """Until the connection is closed."""
        try:
            with self._tasks:
                async with trio.open_nursery() as nursery:
                    self._budget.enter(self)
                    nursery.start_soon(self._flush)
                    nursery.start_soon(self._keep_alive)
                    self.event_started.set()
                    await self._read_frames()
                    nursery.cancel_scope.cancel()
        except* (ConnectionClosedError, MuxedConnUnavailable):
            pass
        except* Exception as group:
            # py-libp2p ends the whole node where this task raises.
            warn(self._log, f"the connection with {self.session.peer} failed", group)
        finally:
            self.event_started.set()
            self.shut()
            if self.on_close is not None:
                with trio.CancelScope(shield=True), trio.move_on_after(5):
                    await self.on_close()

    async def close(self) -> None:
        if not self.is_closed:
            self.send_control(GO_AWAY, 0, 0, NORMAL)
        self.shut()

    def shut(self) -> None:
        """Close at once and break every stream. Idempotent."""
        if self.event_closed.is_set():
            return
        self.event_closed.set()
        self._budget.leave(self)
        self._budget.inbound -= self.inbound
        self.inbound = 0
        # What can still be read of its streams is no longer the connection's.
        self._budget.unread -= self.unread
        self.session.wire.abort()
        self._arrivals.close()
        self._drained.set()
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.lost()
        for pong in self._pongs.values():
            pong.set()
        self._tasks.cancel()

    # --- sending ---------------------------------------------------------------------------------------------------

    def send_control(self, kind: int, flags: int, identifier: int, value: int) -> None:
        """One frame without data. A connection that is gone is no error: its streams are told so."""
        try:
            self.session.send_nowait(_HEADER.pack(0, kind, flags, identifier, value))
        except ConnectionClosedError:
            self.shut()

    def send_fin(self, identifier: int) -> None:
        """Nothing more is sent on that stream."""
        self.send_control(WINDOW_UPDATE, FIN, identifier, 0)

    def send_rst(self, identifier: int) -> None:
        """That stream is given up."""
        self.send_control(WINDOW_UPDATE, RST, identifier, 0)

    def send_data(self, identifier: int, data: bytes) -> None:
        """`data` in as many frames as it takes. Raises :exc:`MuxedStreamReset` where the connection is gone."""
        if len(data) <= LARGEST_FRAME:
            frames = _HEADER.pack(0, DATA, 0, identifier, len(data)) + data
        else:
            chunks = (data[at : at + LARGEST_FRAME] for at in range(0, len(data), LARGEST_FRAME))
            frames = b"".join(_HEADER.pack(0, DATA, 0, identifier, len(chunk)) + chunk for chunk in chunks)
        self.moved = trio.current_time()
        try:
            self.session.send_nowait(frames)
        except ConnectionClosedError:
            self.shut()
            raise MuxedStreamReset("the connection is gone") from None

    async def uncongested(self, *, yielding: bool = True) -> None:
        """A checkpoint, and a wait while too much waits for the kernel; others run meanwhile, if that is `yielding`."""
        if yielding:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        while self.session.wire.congested and not self.is_closed:
            if self._drained.is_set():
                self._drained = trio.Event()
            await self._drained.wait()

    async def _flush(self) -> None:
        wire = self.session.wire
        while True:
            await wire.unsent_event.wait()
            await wire.flush()
            self._drained.set()

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep(KEEPALIVE_SECONDS)
            with trio.move_on_after(PONG_SECONDS):
                await self.ping()
            if trio.current_time() - self._heard >= PONG_SECONDS:
                self.shut()

    async def ping(self) -> float:
        """Seconds for one round trip. Raises :exc:`MuxedConnUnavailable`."""
        identifier, self._next_ping = self._next_ping, (self._next_ping + 1) % 2**32
        pong = self._pongs[identifier] = trio.Event()
        begin = trio.current_time()
        try:
            self.send_control(PING, SYN, 0, identifier)
            await pong.wait()
        finally:
            del self._pongs[identifier]
        if self.is_closed:
            raise MuxedConnUnavailable("the connection is closed")
        return trio.current_time() - begin

    # --- streams ---------------------------------------------------------------------------------------------------

    async def open_stream(self) -> YamuxStream:
        """Raises :exc:`MuxedStreamError` where the connection is closed or has too many streams."""
        await trio.lowlevel.checkpoint()
        if self.is_closed:
            raise MuxedStreamError("the connection is closed")
        if len(self.streams) - self.inbound >= MOST_STREAMS or self._next_stream >= 2**32:
            raise MuxedStreamError("too many streams")
        stream = YamuxStream(self, self._next_stream, outbound=True)
        self._next_stream += 2
        self.streams[stream.stream_id] = stream
        self.moved = trio.current_time()
        self.send_control(WINDOW_UPDATE, SYN, stream.stream_id, 0)
        return stream

    async def accept_stream(self) -> YamuxStream:
        """Raises :exc:`MuxedConnUnavailable` once the connection is closed."""
        try:
            return await self._accepting.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise MuxedConnUnavailable("the connection is closed") from None

    def consumed(self, stream: YamuxStream, count: int) -> None:
        """The application took `count` bytes: credit the peer once half a window is free."""
        self._read(count)
        if stream.finished_receiving:
            self.forget_if_done(stream)
            return
        due = stream.window - stream.receive_credit - len(stream.unread)
        if due * 2 >= stream.window:
            # A reader that keeps up gets twice the window, for links where 256 KiB are less than a round trip's worth.
            due += min(stream.window, LARGEST_WINDOW - stream.window)
            stream.window = min(stream.window * 2, LARGEST_WINDOW)
            stream.receive_credit += due
            self.send_control(WINDOW_UPDATE, 0, stream.stream_id, due)

    def forget_if_done(self, stream: YamuxStream) -> None:
        if stream.finished_sending and stream.finished_receiving and not stream.unread:
            self.drop(stream)

    def drop(self, stream: YamuxStream) -> None:
        """Take `stream` and what it holds off the books."""
        self._read(len(stream.unread))
        stream.unread.clear()
        self.forget(stream)

    def forget(self, stream: YamuxStream) -> None:
        """No frame is for `stream` any more. What it holds unread counts until it is read or dropped."""
        if self.streams.pop(stream.stream_id, None) is not None and not stream.outbound:
            self.inbound -= 1
            self._budget.inbound -= 1

    def _read(self, count: int) -> None:
        self.unread -= count
        if not self.is_closed:
            self._budget.unread -= count

    def give_up_a_stream(self) -> None:
        """Reset one of the streams that the peer opened, at random."""
        inbound = [stream for stream in self.streams.values() if not stream.outbound]
        if inbound:
            _CHANCE.choice(inbound).abandon()

    def owe(self, units: int) -> None:
        """Have the peer wait for what it cost once more of its frames are read."""
        self._owed += units

    async def charge(self, units: int = 0) -> None:
        """Wait for as long as what was spent costs, once it has become a batch; others run meanwhile."""
        self._owed += units
        if self._owed < BATCH_UNITS:
            return
        units, self._owed = self._owed, 0
        wait = self._budget.charge(self.origin, units)
        self._paid_at = max(self._paid_at, trio.current_time() + wait)
        await trio.sleep(wait)

    def _may_be_futile(self, count: int = 1) -> bool:
        """Whether the peer may send `count` such frames more."""
        return self._futile.spend("", count)

    # --- receiving -------------------------------------------------------------------------------------------------

    async def _read_frames(self) -> None:
        session = self.session
        received = session.received
        while not self.is_closed:
            while len(received) < _HEADER.size:
                await self._fill()
            self._heard = trio.current_time()
            version, kind, flags, identifier, value = _HEADER.unpack_from(received)
            size = value if kind == DATA else 0
            if version != 0 or kind > GO_AWAY or size > LARGEST_WINDOW:
                return self._refuse()
            del received[: _HEADER.size]
            while len(received) < size:
                await self._fill()
            if size < PAYING_BYTES:
                self._owed += 1
            if kind == PING:
                if not self._pinged(flags, value):
                    return self._refuse()
            elif kind == GO_AWAY:
                return None
            elif not self._stream_frame(kind, flags, identifier, value, bytes(received[:size])):
                return self._refuse()
            del received[:size]
            if self._owed >= BATCH_UNITS:
                await self.charge()
            elif self._paid_at > self._heard:
                # Whoever answers on one stream waits alone, and the peer would open others meanwhile.
                await trio.sleep_until(self._paid_at)
        return None

    async def _fill(self) -> None:
        await self.session.fill()
        self._owed, self.session.undersized = self._owed + self.session.undersized, 0
        if self._owed >= BATCH_UNITS:
            await self.charge()

    def _refuse(self) -> None:
        self.send_control(GO_AWAY, 0, 0, PROTOCOL_ERROR)

    def _pinged(self, flags: int, value: int) -> bool:
        """Whether the peer kept to what it may send."""
        if flags & SYN:
            self._owed += PING_UNITS
            self.send_control(PING, ACK, 0, value)
        elif value in self._pongs:
            self._pongs[value].set()
            return True
        return self._may_be_futile()

    def _stream_frame(self, kind: int, flags: int, identifier: int, value: int, data: bytes) -> bool:
        """Whether the peer kept to the protocol."""
        if flags & SYN and not self._opened(identifier):
            return False
        stream = self.streams.get(identifier)
        if stream is None:
            # Frames that crossed our reset on the way are no fault of the peer's.
            return self._may_be_futile()
        if kind == WINDOW_UPDATE:
            stream.credit(value)
        elif data:
            if stream.finished_receiving or len(data) > stream.receive_credit:
                return False
            stream.receive_credit -= len(data)
            self.unread += len(data)
            self._budget.unread += len(data)
            self.moved = self._heard
            if self.unread > MOST_UNREAD:
                return False
            stream.arrived(data)
            self._budget.bound_unread()
        if flags & RST:
            stream.reset_by_peer()
            if not stream.touched and not stream.outbound:
                return self._may_be_futile(FUTILE_STREAM)
        elif flags & FIN:
            stream.ended()
        return True

    def _opened(self, identifier: int) -> bool:
        """Whether the peer may open a stream under `identifier`, which it now has or was told is refused."""
        theirs = 0 if self.is_initiator else 1
        if identifier == 0 or identifier % 2 != theirs or identifier in self.streams:
            return False
        self._owed += STREAM_UNITS
        if self.inbound >= MOST_STREAMS:
            self.send_rst(identifier)
            return self._may_be_futile(FUTILE_STREAM)
        if self._budget.room_for_a_stream():
            self._owed += SEARCH_UNITS
        stream = YamuxStream(self, identifier, outbound=False)
        try:
            self._arrivals.send_nowait(stream)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.send_rst(identifier)
            return True
        self.streams[identifier] = stream
        self.inbound += 1
        self._budget.inbound += 1
        self.moved = self._heard
        self.send_control(WINDOW_UPDATE, ACK, identifier, 0)
        return True
