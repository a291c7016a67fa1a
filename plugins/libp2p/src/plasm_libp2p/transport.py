"""The transport ``libp2p``: TCP, Noise and Yamux under the node's key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import trio
from anyio.abc import TaskStatus
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError

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
from plasm_libp2p.addresses import (
    TcpAddress,
    allowed,
    announced,
    expand,
    nearest_last,
    parse,
    resolve,
)
from plasm_libp2p.failures import warn
from plasm_libp2p.groups import ungrouped
from plasm_libp2p.hooks import Libp2pOptions
from plasm_libp2p.host import PhaseHost
from plasm_libp2p.identification import push
from plasm_libp2p.key import key_pair
from plasm_libp2p.muxed_stream import YamuxStream
from plasm_libp2p.negotiation import open_negotiated
from plasm_libp2p.noise import NoiseSecurity
from plasm_libp2p.peers import Notices, PeerBook
from plasm_libp2p.streams import Libp2pStream
from plasm_libp2p.swarm import PhaseSwarm, Upgrader, quiet_library
from plasm_libp2p.tasks import background_service
from plasm_libp2p.yamux import YamuxConnection

PING_SECONDS = 3.0
PUSH_SECONDS = 5.0
PUSHES_AT_ONCE = 16
SHUTDOWN_SECONDS = 5.0
"""Closing is a frame and a system call per connection; only a stuck handler takes longer, and does not hold us up."""


class Libp2p:
    """A py-libp2p host behind the transport port."""

    def __init__(
        self, host: PhaseHost, swarm: PhaseSwarm, book: PeerBook, scope: Scope, options: Libp2pOptions
    ) -> None:
        self.host = host
        self.book = book
        self.swarm = swarm
        self.peer = PeerId(host.get_id().to_base58())
        self.log = scope.log
        self._allows = scope.allows
        self._options = options
        self._announced = [announced(address) for address in options.announce]
        for address in self._announced:
            if not allowed(address, scope.allows):
                raise AddressRefused(f"{address} is announced, and outside the addresses that may be used here")
        self._listening: list[TcpAddress] = []
        self._protocols: set[str] = set()
        self._changed = trio.Event()

    @property
    def addresses(self) -> Sequence[str]:
        # Interfaces come and go while a node listens on all of them.
        found = [concrete for address in self._listening for concrete in expand(address)]
        usable = [address for address in found if allowed(address, self._allows)]
        said = [*self._announced, *usable] if self.listens else []
        return tuple(f"{address}/p2p/{self.peer}" for address in dict.fromkeys(said))

    def for_strangers(self, addresses: Iterable[str]) -> list[str]:
        """Those of this node's `addresses` that are told in the DHT, the best first."""
        own = {f"{address}/p2p/{self.peer}": None for address in self._announced}
        told = list(addresses)
        return [address for address in own if address in told] or nearest_last(told)

    def described(self) -> list[str]:
        """The addresses that a connected peer is told: those that lead farthest first."""
        return nearest_last(self.addresses)

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
        with trio.fail_after(self._options.stream_timeout_seconds):
            return await open_negotiated(connection, protocol)

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
            limit = trio.CapacityLimiter(PUSHES_AT_ONCE)

            async def tell(connection: YamuxConnection, limit: trio.CapacityLimiter = limit) -> None:
                async with limit:
                    await push(self.host.description, connection)

            with trio.move_on_after(PUSH_SECONDS):
                async with trio.open_nursery() as nursery:
                    for peer in self.host.get_connected_peers():
                        connection = self.swarm.live(peer)
                        if connection is not None:
                            nursery.start_soon(tell, connection)

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
    upgrader = Upgrader(security, scope.log)
    swarm = PhaseSwarm(identifier, book, upgrader, scope.allows, options, scope.log)
    book.is_connected = lambda peer: bool(swarm.connections.get(peer))
    transport: Libp2p | None = None

    def described() -> Sequence[str]:
        return [] if transport is None else transport.described()

    host = PhaseHost(swarm, book, described, scope.log)
    transport = Libp2p(host, swarm, book, scope, options)
    if transport.peer != peer_id(signer.public_key):
        raise TransportError("the signer's key is not a valid Ed25519 key")
    swarm.register_notifee(Notices(book))
    with ungrouped():
        async with background_service(swarm):
            await swarm.event_background_nursery_created.wait()
            async with trio.open_nursery() as listening:
                try:
                    listening.start_soon(transport.tell_changes)
                    listening.start_soon(upgrader.budget.pace)
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
