"""A TCP connection with buffers of its own.

py-libp2p reads every length prefix with a system call and a lock of its own, and a write that is cancelled can leave
half a message on the wire, after which both sides decrypt garbage. Here reading fills a buffer once, and a write goes
to the kernel at once or is kept to be flushed, so that no cancellation tears a message.
"""

from __future__ import annotations

import socket
from contextlib import suppress

import trio
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.io.exceptions import ConnectionClosedError
from multiaddr import Multiaddr  # type: ignore[import-untyped]

READ_SIZE = 256 * 1024
HIGH_WATER = 512 * 1024
"""Bytes waiting for the kernel above which writers of data have to wait."""
MOST_UNSENT = 8 * 2**20
"""Bytes waiting for the kernel at which the connection is given up: control frames to a peer that does not read."""
UNPROVEN_BYTES = 64 * 1024
"""What a peer may send in all before it has proven who it is; a handshake takes about 1 KiB."""


class WireConnection(IRawConnection):
    """A connected, non-blocking TCP socket. One task reads and one flushes at a time."""

    def __init__(self, connected: socket.socket, *, initiator: bool) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._descriptor = connected.fileno()
        self._closed = False
        self._unsent = bytearray()
        self._drained = True
        """Whether the last read took all that was there: then it is waited for before the next."""
        self._unproven: float = UNPROVEN_BYTES
        self._remote: tuple[str, int] = connected.getpeername()[:2]
        self.opened = trio.current_time()
        self.is_initiator = initiator
        self.received = bytearray()
        self.unsent_event = trio.Event()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def silent(self) -> bool:
        """Whether the peer has said nothing before it proved who it is."""
        return self._unproven == UNPROVEN_BYTES

    def proven(self) -> None:
        """Lift the limit on what an unknown peer may send."""
        self._unproven = float("inf")

    async def fill(self) -> None:
        """Wait for more bytes and append them to ``received``. Raises :exc:`ConnectionClosedError` at the end."""
        waited = False
        while not self._closed:
            if self._drained:
                try:
                    await trio.lowlevel.wait_readable(self._descriptor)
                except trio.ClosedResourceError:
                    break
                waited = True
            try:
                data = self._socket.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                self._drained = True
                continue
            except OSError as error:
                raise ConnectionClosedError(f"the connection broke: {error}", transport="tcp") from error
            self._drained = len(data) < READ_SIZE
            if not data:
                break
            self.received += data
            self._unproven -= len(data)
            if self._unproven < 0:
                raise ConnectionClosedError("too much before the handshake ended", transport="tcp")
            if not waited:
                await trio.lowlevel.checkpoint()
            return
        raise ConnectionClosedError("the connection is closed", transport="tcp")

    @property
    def congested(self) -> bool:
        return len(self._unsent) > HIGH_WATER

    def send_nowait(self, data: bytes) -> None:
        """Hand `data` to the kernel, and keep what it does not take for :meth:`flush`.

        Raises :exc:`ConnectionClosedError`.
        """
        if self._closed:
            raise ConnectionClosedError("the connection is closed", transport="tcp")
        if self._unsent:
            if len(self._unsent) > MOST_UNSENT:
                self.abort()
                raise ConnectionClosedError("the peer does not read", transport="tcp")
            self._unsent += data
            return
        sent = self._send(data)
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self.unsent_event.set()

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self.abort()
            raise ConnectionClosedError(f"the connection broke: {error}", transport="tcp") from error

    async def flush(self) -> None:
        """Until the kernel has taken everything. Raises :exc:`ConnectionClosedError`."""
        while self._unsent:
            try:
                await trio.lowlevel.wait_writable(self._descriptor)
            except trio.ClosedResourceError:
                raise ConnectionClosedError("the connection is closed", transport="tcp") from None
            del self._unsent[: self._send(self._unsent)]
        self.unsent_event = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        if not self.received:
            await self.fill()
        data = bytes(self.received[:n])
        del self.received[:n]
        return data

    async def write(self, data: bytes) -> None:
        self.send_nowait(data)
        await self.flush()

    def abort(self) -> None:
        """Close at once; tasks that wait for the socket wake. Idempotent."""
        if self._closed:
            return
        self._closed = True
        with suppress(RuntimeError):  # raised where no loop runs any more
            trio.lowlevel.notify_closing(self._descriptor)
        self._socket.close()

    async def close(self) -> None:
        self.abort()

    def get_remote_address(self) -> tuple[str, int]:
        return self._remote

    def get_transport_addresses(self) -> list[Multiaddr]:
        host, port = self._remote
        return [Multiaddr(f"/{'ip6' if ':' in host else 'ip4'}/{host.partition('%')[0]}/tcp/{port}")]

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT
