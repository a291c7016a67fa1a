"""A transport between nodes of one process, over bounded buffers, with identities that are proven by signatures."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plasm import identity
from plasm.drivers import Driver, Options, Scope
from plasm.ports import (
    AddressRefused,
    DialFailed,
    Located,
    PeerId,
    Signer,
    Stream,
    StreamBroken,
    StreamHandler,
    Transport,
    TransportError,
)
from plasm.testing.fakes.pipe import Pipe

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

_ADDRESS = re.compile(r"/memory/([1-9][0-9]{0,8})/p2p/([1-9A-HJ-NP-Za-km-z]{40,64})")
_BUFFER_BYTES = 256 * 1024
_MOST_STREAMS = 1024
_PROOF = b"plasm.testing memory handshake\0"


class MemoryStream:
    """One side of a stream."""

    def __init__(self, peer: PeerId, inbound: Pipe, outbound: Pipe, remote_ip: str = "127.0.0.1") -> None:
        self._peer = peer
        self._remote_ip = remote_ip
        self._inbound = inbound
        self._outbound = outbound

    @property
    def peer(self) -> PeerId:
        return self._peer

    @property
    def remote_ip(self) -> str:
        return self._remote_ip

    async def send(self, data: bytes) -> None:
        await self._outbound.send(data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._inbound.receive(max_bytes)

    async def send_eof(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self._outbound.broken:
            raise StreamBroken(self._outbound.broken)
        self._outbound.end()

    async def reset(self) -> None:
        self.break_off("the stream was reset")

    async def aclose(self) -> None:
        self._outbound.end()
        if not self._inbound.drained:
            self._inbound.break_off("the stream is closed")

    def break_off(self, reason: str) -> None:
        self._inbound.break_off(reason)
        self._outbound.break_off(reason)


class MemoryNetwork:
    """What the transports of one test share. It can also take a peer's connections away."""

    def __init__(self) -> None:
        self._listeners: dict[int, MemoryTransport] = {}
        self._opened = 0
        self._places: dict[PeerId, str] = {}

    def disconnect(self, peer: PeerId) -> None:
        """Break every stream of `peer`, as a cable that is pulled and plugged in again."""
        for transport in list(self._listeners.values()):
            if transport.peer == peer:
                transport.drop_connections("the connection is gone")

    def place(self, peer: PeerId, ip: str) -> None:
        """Let `peer` be connected from `ip` from now on; where nothing is said that is 127.0.0.1."""
        self._places[peer] = ip

    def ip_of(self, peer: PeerId) -> str:
        """Where `peer` is connected from."""
        return self._places.get(peer, "127.0.0.1")

    def join(self, transport: MemoryTransport) -> int:
        self._opened += 1
        self._listeners[self._opened] = transport
        return self._opened

    def leave(self, number: int) -> None:
        self._listeners.pop(number, None)

    def listener(self, number: int) -> MemoryTransport | None:
        return self._listeners.get(number)


class MemoryTransport:
    """Made by :func:`open_memory_transport`."""

    def __init__(self, network: MemoryNetwork, signer: Signer, log: logging.Logger, *, listen: bool) -> None:
        self.peer = identity.peer_id(signer.public_key)
        self._network = network
        self._signer = signer
        self._log = log
        self._listens = listen
        self._number = network.join(self)
        self._handlers: dict[str, tuple[StreamHandler, TaskGroup]] = {}
        self._streams: set[MemoryStream] = set()
        self._connected: dict[PeerId, MemoryTransport] = {}
        self._open = True

    @property
    def addresses(self) -> Sequence[str]:
        return (f"/memory/{self._number}/p2p/{self.peer}",) if self._listens and self._open else ()

    def understands(self, address: str) -> bool:
        return self._parse(address) is not None

    async def latency(self, peer: PeerId) -> float:
        before = anyio.current_time()
        await anyio.lowlevel.checkpoint()
        connected = self._connected.get(peer)
        if connected is None or not connected._open:
            raise TransportError("no connection to that peer")
        return anyio.current_time() - before

    async def open_stream(self, peer: PeerId, addresses: Sequence[str], protocol: str) -> Stream:
        await anyio.lowlevel.checkpoint()
        if not self._open:
            raise DialFailed("this transport is closed")
        other = self._connected.get(peer)
        if other is None or not other._open:
            other = self._dial(peer, addresses)
        return self._connect(other, protocol)

    async def serve(self, protocol: str, handler: StreamHandler, *, task_status: TaskStatus[None]) -> None:
        if protocol in self._handlers:
            raise TransportError(f"{protocol!r} is served already")
        async with anyio.create_task_group() as handlers:
            self._handlers[protocol] = (handler, handlers)
            try:
                task_status.started()
                await anyio.sleep_forever()
            finally:
                del self._handlers[protocol]

    def drop_connections(self, reason: str) -> None:
        for stream in list(self._streams):
            stream.break_off(reason)
        self._streams.clear()
        for other in self._connected.values():
            other._connected.pop(self.peer, None)
        self._connected.clear()

    def close(self) -> None:
        self._open = False
        self._network.leave(self._number)
        self.drop_connections("the transport is closed")

    def _parse(self, address: str) -> tuple[int, PeerId] | None:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            return None
        try:
            return int(match[1]), identity.parse_peer_id(match[2])
        except identity.InvalidIdentity:
            return None

    def _dial(self, peer: PeerId, addresses: Sequence[str]) -> MemoryTransport:
        understood = [parsed for parsed in map(self._parse, addresses) if parsed is not None]
        if addresses and not understood:
            raise AddressRefused("none of the addresses is one of /memory/NUMBER/p2p/PEER")
        for number, named in understood:
            other = self._network.listener(number)
            if (
                named == peer
                and other is not None
                and other._listens
                and other._proves(peer)
                and self._proves(self.peer)
            ):
                self._connected[peer] = other
                other._connected[self.peer] = self
                return other
        raise DialFailed(f"{peer} answers at none of {len(addresses)} addresses")

    def _proves(self, peer: PeerId) -> bool:
        challenge = _PROOF + os.urandom(32)
        try:
            key = Ed25519PublicKey.from_public_bytes(identity.public_key(peer))
            key.verify(self._signer.sign(challenge), challenge)
        except InvalidSignature:
            return False
        return True

    def _connect(self, other: MemoryTransport, protocol: str) -> MemoryStream:
        served = other._handlers.get(protocol)
        if served is None:
            raise DialFailed(f"{other.peer} does not speak {protocol!r}")
        if max(len(self._streams), len(other._streams)) >= _MOST_STREAMS:
            raise DialFailed("too many streams are open")
        there, back = Pipe(_BUFFER_BYTES), Pipe(_BUFFER_BYTES)
        here = MemoryStream(other.peer, back, there, self._network.ip_of(other.peer))
        remote = MemoryStream(self.peer, there, back, self._network.ip_of(self.peer))
        self._streams.add(here)
        other._streams.add(remote)
        handler, handlers = served
        handlers.start_soon(other._answer, handler, remote, self, here)
        return here

    async def _answer(
        self, handler: StreamHandler, stream: MemoryStream, dialer: MemoryTransport, far_side: MemoryStream
    ) -> None:
        try:
            await handler(stream)
            await stream.aclose()
        except Exception as error:
            self._log.warning("a stream handler failed: %.300r", error)
            await stream.reset()
        except BaseException:
            stream.break_off("the handler was cancelled")
            raise
        finally:
            self._streams.discard(stream)
            dialer._streams.discard(far_side)


@asynccontextmanager
async def open_memory_transport(
    network: MemoryNetwork, signer: Signer, *, listen: bool = True, log: logging.Logger | None = None
) -> AsyncIterator[MemoryTransport]:
    """A transport on `network` with the identity of `signer`. With `listen` it can be dialed."""
    transport = MemoryTransport(network, signer, log or logging.getLogger("plasm.testing"), listen=listen)
    try:
        yield transport
    finally:
        transport.close()


def memory_driver(network: MemoryNetwork, *, name: str = "memory") -> Driver[Transport]:
    """A driver whose transports share `network`; it listens where the scope has an address to listen on."""

    @asynccontextmanager
    async def open_memory(scope: Scope, options: Options) -> AsyncIterator[MemoryTransport]:
        signer = scope.require(Signer)
        async with open_memory_transport(network, signer, listen=bool(scope.listen), log=scope.log) as transport:
            yield transport

    return Driver(name=name, open=open_memory, needs=frozenset({"signer"}), summary="streams inside one process")


if TYPE_CHECKING:
    _: type[Transport] = MemoryTransport
    _located: type[Located] = MemoryStream
