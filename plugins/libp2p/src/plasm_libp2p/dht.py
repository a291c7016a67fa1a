"""The discovery ``dht``: provider records in a Kademlia DHT of Phase nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import trio
from anyio.abc import ObjectSendStream, TaskStatus
from libp2p.peer.id import ID

from plasm.drivers import Scope
from plasm.identity import InvalidIdentity, peer_of_address
from plasm.ports import (
    AddressRefused,
    Bootstrapped,
    Discovery,
    DiscoveryError,
    Found,
    PeerId,
    Stream,
    Topic,
    Transport,
    TransportError,
)
from plasm.shares import origin_of
from plasm_libp2p.addresses import TcpAddress, allowed, nearest_last, parse
from plasm_libp2p.groups import ungrouped
from plasm_libp2p.hooks import DhtOptions
from plasm_libp2p.kademlia import CLOSEST, KAD, DhtServer, PhaseTable
from plasm_libp2p.lookup import Lookup, record_key
from plasm_libp2p.peers import Event
from plasm_libp2p.records import MOST_ADDRESSES, BoundedRecords
from plasm_libp2p.tending import News, Tending
from plasm_libp2p.transport import Libp2p

WITHDRAW = "/phase/dht-withdraw/1"
"""The sender takes back its provider record under the key that the stream carries; no answer."""
WITHDRAW_SECONDS = 2.0
LONGEST_KEY = 64
FIRST_PAUSE_SECONDS = 0.1
SETTLE_SECONDS = 0.005
"""For peers that come at the same time to be asked together."""
PAUSE_GROWTH = 1.3
RETRY_SECONDS = 1.0
"""Between announcements that nobody took."""
MOST_FOUND = 4096
"""Providers that one search remembers."""


class Dht:
    """Provider records under the keys of topics."""

    def __init__(
        self,
        transport: Libp2p,
        scope: Scope,
        options: DhtOptions,
        table: PhaseTable,
        records: BoundedRecords,
        lookup: Lookup,
        tending: Tending,
    ) -> None:
        self._transport = transport
        self._scope = scope
        self._options = options
        self._table = table
        self._records = records
        self._lookup = lookup
        self._tending = tending
        self._news = tending.news

    async def advertise(
        self,
        topic: Topic,
        addresses: Callable[[], Sequence[str]],
        properties: Mapping[str, str],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        # `properties` stay at home: a provider record of the specification has no room for them.
        key = record_key(topic.key)
        told: dict[ID, float] = {}
        started = False
        renewal = trio.current_time()
        announced: tuple[str, ...] = ()
        try:
            while True:
                now = trio.current_time()
                said = (address for address in addresses() if self._transport.understands(address))
                current = tuple(self._transport.for_strangers(said)[:MOST_ADDRESSES])
                if now >= renewal or current != announced:
                    told.clear()
                    renewal, announced = now + self._options.provide_seconds, current
                if current:
                    parsed = [parse(address) for address in current]
                    self._keep(key, parsed)
                    await self._announce(key, parsed, told)
                if not started:
                    started = True
                    task_status.started()
                pause = renewal - trio.current_time()
                if not told:
                    pause = min(pause, RETRY_SECONDS)
                with trio.move_on_after(max(pause, 0)):
                    await self._news.wait()
        finally:
            self._records.remove(key, self._transport.host.get_id())
            with trio.CancelScope(shield=True), trio.move_on_after(WITHDRAW_SECONDS):
                await self._withdraw(key, list(told))

    def _keep(self, key: bytes, addresses: Sequence[TcpAddress]) -> None:
        own = self._transport.host.get_id()
        kept = next((each for each in self._records.providers(key) if each.peer == own), None)
        if kept is None or kept.addresses != tuple(addresses):
            self._records.add(key, own, addresses, origin_of(None, str(own)))

    async def _announce(self, key: bytes, addresses: Sequence[TcpAddress], told: dict[ID, float]) -> None:
        if not self._table.size():
            return
        # A network of a few nodes is in the table as a whole, and need not be asked who is closest.
        closest = self._table.find_local_closest_peers(key, CLOSEST)
        if not told and len(closest) >= CLOSEST:
            closest = await self._lookup.closest(key) or closest
        missing = [peer for peer in closest if peer not in told]
        for peer in await self._lookup.announce(key, addresses, missing):
            told[peer] = trio.current_time()

    async def _withdraw(self, key: bytes, told: Sequence[ID]) -> None:
        async def withdraw(peer: ID) -> None:
            if self._transport.swarm.live(peer) is not None:
                try:
                    stream = await self._transport.open_stream(PeerId(peer.to_base58()), (), WITHDRAW)
                    await stream.send(key)
                    await stream.aclose()
                except TransportError:
                    return

        async with trio.open_nursery() as nursery:
            for peer in told:
                nursery.start_soon(withdraw, peer)

    async def find(self, topic: Topic, found: ObjectSendStream[Found]) -> None:
        key = record_key(topic.key)
        sent: dict[PeerId, frozenset[str]] = {}
        # Of each peer the newest only, so that no more than `sent` holds waits for whoever takes them.
        results: dict[PeerId, Found] = {}
        fresh = trio.Event()

        def provider(peer: PeerId, addresses: tuple[str, ...]) -> None:
            usable = tuple(nearest_last(address for address in addresses if self._usable(address)))
            if peer == self._transport.peer or not usable or sent.get(peer) == frozenset(usable):
                return
            if len(sent) < MOST_FOUND or peer in sent:
                sent[peer] = frozenset(usable)
                results[peer] = Found(peer, usable, "dht")
                fresh.set()

        def connected(peer: PeerId) -> bool:
            return self._transport.swarm.live(ID.from_string(peer)) is not None

        async def look() -> None:
            pause = FIRST_PAUSE_SECONDS
            while True:
                for record in self._records.providers(key):
                    peer = PeerId(record.peer.to_base58())
                    provider(peer, tuple(str(address.of(peer)) for address in record.addresses))
                await self._lookup.providers(key, provider)
                with trio.move_on_after(pause):
                    await self._news.wait()
                    # Whoever announces is still telling others; and a burst of news is one reason to look. But nobody
                    # who has found nothing yet waits for that, as when the first peer came into the table.
                    await trio.sleep(FIRST_PAUSE_SECONDS if sent else SETTLE_SECONDS)
                pause = min(pause * PAUSE_GROWTH, self._options.lookup_seconds)

        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                while True:
                    await fresh.wait()
                    fresh = trio.Event()
                    while results:
                        # Who is connected can be asked at once; all others have to be dialed.
                        for peer in sorted(results, key=connected, reverse=True):
                            if (one := results.pop(peer, None)) is not None:
                                await found.send(one)

    def _usable(self, address: str) -> bool:
        try:
            return allowed(parse(address), self._scope.allows)
        except AddressRefused:
            return False

    def sources(self) -> Sequence[str]:
        peers = self._tending.bootstrap
        connected = sum(self._transport.swarm.live(ID.from_string(peer)) is not None for peer in peers)
        plural = "" if len(peers) == 1 else "s"
        return (f"{len(peers)} bootstrap peer{plural} ({connected} connected), {self._table.size()} in the table",)

    async def on_withdraw(self, stream: Stream) -> None:
        """Serve :data:`WITHDRAW`."""
        key = b""
        with anyio.move_on_after(WITHDRAW_SECONDS):
            while piece := await stream.receive(LONGEST_KEY + 1 - len(key)):
                key += piece
                if len(key) > LONGEST_KEY:
                    return
            self._records.remove(key, ID.from_string(stream.peer))


def _bootstrap_peers(addresses: Sequence[str], own: PeerId) -> dict[PeerId, list[str]]:
    peers: dict[PeerId, list[str]] = {}
    for address in addresses:
        try:
            parse(address)
            peer = peer_of_address(address)
        except (AddressRefused, InvalidIdentity) as error:
            raise DiscoveryError(f"not a bootstrap address: {error}") from None
        if peer != own:
            peers.setdefault(peer, []).append(address)
    return peers


@asynccontextmanager
async def open_dht(scope: Scope, options: DhtOptions) -> AsyncIterator[Dht]:
    """A server where the transport listens, else a client. Raises :exc:`DiscoveryError`."""
    transport = scope.require(Transport)
    if not isinstance(transport, Libp2p):
        raise DiscoveryError("the dht needs the transport libp2p")
    bootstrap = _bootstrap_peers((*scope.bootstrap, *options.bootstrap), transport.peer)
    news = News()
    serves = transport.listens
    own = transport.host.get_id()
    table = PhaseTable(own, transport.host)
    records = BoundedRecords(own, options.record_seconds, news.tell, transport.book.is_connected)
    server = DhtServer(own, transport.book, table, records)
    lookup = Lookup(transport, table)
    tending = Tending(transport, table, records, lookup, bootstrap, news)
    dht = Dht(transport, scope, options, table, records, lookup, tending)
    transport.book.watchers.append(tending.notice)
    try:
        with ungrouped():
            async with trio.open_nursery() as nursery:
                if serves:
                    await nursery.start(partial(transport.serve, WITHDRAW, dht.on_withdraw))
                    await nursery.start(partial(transport.serve, KAD, server.serve))
                for peer in transport.host.get_connected_peers():
                    tending.notice(peer, Event.IDENTIFIED)
                nursery.start_soon(tending.run, options.tend_seconds)
                try:
                    yield dht
                finally:
                    nursery.cancel_scope.cancel()
    finally:
        transport.book.watchers.remove(tending.notice)


if TYPE_CHECKING:
    _: type[Discovery] = Dht
    _sources: type[Bootstrapped] = Dht
