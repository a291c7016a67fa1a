"""The transport ``libp2p``: TCP, Noise and Yamux under the node's key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import trio
from anyio.abc import TaskStatus
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify_push.identify_push import push_identify_to_peers
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from plasm.drivers import Scope
from plasm.identity import peer_id
from plasm.ports import (
    AddressRefused,
    DialFailed,
    LatencyProbe,
    PeerId,
    Signer,
    Stream,
    StreamBroken,
    StreamHandler,
    Transport,
    TransportError,
)
from plasm_libp2p.addresses import TcpAddress, allowed, expand, parse, resolve
from plasm_libp2p.failures import warn
from plasm_libp2p.groups import ungrouped
from plasm_libp2p.hooks import Libp2pOptions
from plasm_libp2p.key import key_pair
from plasm_libp2p.muxed_stream import YamuxStream
from plasm_libp2p.negotiation import NotSpoken, select
from plasm_libp2p.noise import NoiseSecurity
from plasm_libp2p.peers import Notices, PeerBook
from plasm_libp2p.streams import Libp2pStream
from plasm_libp2p.swarm import PhaseSwarm, Upgrader, quiet_library
from plasm_libp2p.yamux import YamuxConnection

PING_SECONDS = 3.0
PUSH_SECONDS = 5.0
SHUTDOWN_SECONDS = 5.0
"""Closing is a frame and a system call per connection; only a stuck handler takes longer, and does not hold us up."""


class Libp2p:
    """A py-libp2p host behind the transport port."""

    def __init__(
        self, host: BasicHost, swarm: PhaseSwarm, book: PeerBook, scope: Scope, options: Libp2pOptions
    ) -> None:
        self.host = host
        self.book = book
        self.swarm = swarm
        self.peer = PeerId(host.get_id().to_base58())
        self.log = scope.log
        self._allows = scope.allows
        self._options = options
        self._listening: list[TcpAddress] = []
        self._protocols: set[str] = set()
        self._changed = trio.Event()

    @property
    def addresses(self) -> Sequence[str]:
        # Interfaces come and go while a node listens on all of them.
        found = (concrete for address in self._listening for concrete in expand(address))
        return tuple(f"{a}/p2p/{self.peer}" for a in dict.fromkeys(found) if allowed(a, self._allows))

    @property
    def listens(self) -> bool:
        """Whether anybody can dial this node."""
        return bool(self._listening)

    def understands(self, address: str) -> bool:
        try:
            return parse(address).peer is not None
        except AddressRefused:
            return False

    async def open_stream(self, peer: PeerId, addresses: Sequence[str], protocol: str) -> Stream:
        identifier = ID.from_string(peer)
        if identifier == self.host.get_id():
            raise DialFailed("that is this node itself")
        for attempt in range(2):
            reused = self.swarm.live(identifier) is not None
            try:
                connection = await self.swarm.dial(identifier, addresses)
            except SwarmException as error:
                raise DialFailed(f"no connection to {peer}: {error}") from None
            try:
                return Libp2pStream(await self.negotiate(connection, protocol))
            except (MuxedStreamError, trio.TooSlowError) as error:
                # A connection that was up may be long dead without having told, and then a new one helps. One that is
                # alive carries other streams, and is left alone.
                if await self._alive(connection):
                    raise DialFailed(f"{peer} did not take a stream of {protocol}: {error or 'too slow'}") from None
                connection.shut()
                if not reused or attempt:
                    break
        raise DialFailed(f"{peer} does not answer on its connection")

    async def _alive(self, connection: YamuxConnection) -> bool:
        with trio.move_on_after(PING_SECONDS), suppress(MuxedConnUnavailable):
            await connection.ping()
            return True
        return False

    async def negotiate(self, connection: YamuxConnection, protocol: str) -> YamuxStream:
        """Raises :exc:`DialFailed`, :exc:`MuxedStreamError` or :exc:`trio.TooSlowError`."""
        stream = await connection.open_stream()
        try:
            with trio.fail_after(self._options.stream_timeout_seconds):
                await select(stream, protocol)
        except NotSpoken as error:
            stream.abandon()
            raise DialFailed(f"{connection.session.peer} does not speak {protocol}: {error}") from None
        except BaseException:
            stream.abandon()
            raise
        return stream

    async def serve(
        self, protocol: str, handler: StreamHandler, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        if protocol in self._protocols:
            raise TransportError(f"{protocol} is served already")
        name = TProtocol(protocol)
        try:
            async with anyio.create_task_group() as handlers:

                async def on_stream(stream: INetStream) -> None:
                    muxed = getattr(stream, "muxed_stream", None)
                    if isinstance(muxed, YamuxStream):
                        handlers.start_soon(self._handle, protocol, handler, Libp2pStream(muxed))

                self._protocols.add(protocol)
                self.host.set_stream_handler(name, on_stream)
                try:
                    self._changed.set()
                    task_status.started()
                    await anyio.sleep_forever()
                finally:
                    self.host.remove_stream_handler(name)
        finally:
            self._protocols.discard(protocol)

    async def _handle(self, protocol: str, handler: StreamHandler, stream: Libp2pStream) -> None:
        try:
            await handler(stream)
        except StreamBroken as error:
            # Peers come and go; whoever wants to know caught it.
            self.log.debug("a stream of %s broke: %s", protocol, error)
            await stream.reset()
        except Exception as error:
            warn(self.log, f"the handler of {protocol} failed", error)
            await stream.reset()
        except BaseException:
            await stream.reset()
            raise
        else:
            await stream.aclose()

    async def latency(self, peer: PeerId) -> float:
        connection = self.swarm.live(ID.from_string(peer))
        if connection is None:
            raise TransportError(f"there is no connection to {peer}")
        try:
            with trio.fail_after(PING_SECONDS):
                return await connection.ping()
        except (MuxedConnUnavailable, trio.TooSlowError):
            raise TransportError(f"{peer} does not answer") from None

    async def tell_changes(self) -> None:
        """Tell connected peers which protocols are spoken here whenever that changes, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            with trio.move_on_after(PUSH_SECONDS):
                await push_identify_to_peers(self.host)

    async def listen(self, address: str, *, task_status: TaskStatus[None]) -> None:
        """Accept connections at `address` until cancelled. Raises :exc:`TransportError` before ``started()``."""
        wanted = parse(address)
        if wanted.peer is not None and wanted.peer != self.peer:
            raise AddressRefused(f"{address!r} is another peer's address")
        listeners: list[trio.SocketListener] = []
        try:
            for place in await self._places(wanted):
                # Several addresses behind one name share the port that the first one got.
                port = listeners[0].socket.getsockname()[1] if listeners and not place.port else place.port
                opened = await trio.open_tcp_listeners(port, host=place.host)
                listeners += opened
                port = opened[0].socket.getsockname()[1]
                self._listening.append(TcpAddress(place.kind, place.host, port))
            accept = partial(self.swarm.accept, listening_on=str(self._listening[-1]))
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, accept, listeners)
                task_status.started()
        except OSError as error:
            raise TransportError(f"cannot listen on {address}: {error.strerror or error}") from error
        finally:
            with trio.CancelScope(shield=True):
                for listener in listeners:
                    await listener.aclose()

    async def _places(self, wanted: TcpAddress) -> list[TcpAddress]:
        if wanted.kind in ("ip4", "ip6") and not self._allows(wanted.host):
            # A wildcard may stand for addresses that are allowed; only those are listened on.
            return [place for place in expand(wanted) if allowed(place, self._allows)] or await resolve(
                wanted, self._allows
            )
        return await resolve(wanted, self._allows)


@asynccontextmanager
async def open_libp2p(scope: Scope, options: Libp2pOptions) -> AsyncIterator[Libp2p]:
    """Listens on ``scope.listen`` for as long as it is open. Raises :exc:`TransportError`."""
    quiet_library()
    signer = scope.require(Signer)
    pair = key_pair(signer)
    identifier = ID.from_pubkey(pair.public_key)
    book = PeerBook(identifier)
    book.add_key_pair(identifier, pair)
    security = NoiseSecurity(pair)
    swarm = PhaseSwarm(identifier, book, Upgrader(security, scope.log), scope.allows, options, scope.log)
    book.is_connected = lambda peer: bool(swarm.connections.get(peer))
    transport: Libp2p | None = None

    def advertised(_candidates: list[Multiaddr]) -> list[Multiaddr]:
        return [] if transport is None else [Multiaddr(address) for address in transport.addresses]

    host = BasicHost(swarm, addrs_factory=advertised, disable_identify_address_discovery=True)
    transport = Libp2p(host, swarm, book, scope, options)
    if transport.peer != peer_id(signer.public_key):
        raise TransportError("the signer's key is not a valid Ed25519 key")
    swarm.register_notifee(Notices(book))
    with ungrouped():
        async with background_trio_service(swarm):
            await swarm.event_background_nursery_created.wait()
            async with trio.open_nursery() as listening:
                try:
                    listening.start_soon(transport.tell_changes)
                    for address in scope.listen:
                        await listening.start(partial(transport.listen, address))
                    yield transport
                finally:
                    listening.cancel_scope.cancel()
                    with trio.CancelScope(shield=True), trio.move_on_after(SHUTDOWN_SECONDS):
                        await swarm.shut()
                        await host.close()


if TYPE_CHECKING:
    _: type[Transport] = Libp2p
    _probe: type[LatencyProbe] = Libp2p
