"""Keeping a routing table: joining through bootstrap peers, letting Phase nodes in, and dead ones out."""

from __future__ import annotations

import random
from collections.abc import Sequence

import trio
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID

from plasm.ports import AddressRefused, PeerId, TransportError
from plasm_libp2p.identification import identify
from plasm_libp2p.kademlia import CLOSEST, PhaseTable
from plasm_libp2p.lookup import Lookup
from plasm_libp2p.peers import Event
from plasm_libp2p.records import BoundedRecords
from plasm_libp2p.transport import Libp2p
from plasm_libp2p.yamux import YamuxConnection

FIRST_RETRY_SECONDS = 0.25
LAST_RETRY_SECONDS = 30.0
IDENTIFY_SECONDS = 2.0
"""For a bootstrap peer to come into the table before it is asked again who it is; then twice as long each time."""
FORGET_CLOSED_SECONDS = 60.0
"""After which a peer that closed its connection is one that did so for the first time."""
MOST_WAITING = 1024
"""Peers that wait to be let in or checked; more than a table holds, so that only a flood loses one."""
SETTLE_SECONDS = 0.05
"""Peers that come at the same time are looked for together."""


class News:
    """Wakes whoever waits for the table or the records to change."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def tell(self) -> None:
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        await self._event.wait()


class Tending:
    """The tasks that keep the table of one node."""

    def __init__(
        self,
        transport: Libp2p,
        table: PhaseTable,
        records: BoundedRecords,
        lookup: Lookup,
        bootstrap: dict[PeerId, list[str]],
        news: News,
    ) -> None:
        self._transport = transport
        self._table = table
        self._records = records
        self._lookup = lookup
        self.bootstrap = bootstrap
        self.news = news
        self._waiting: dict[ID, Event] = {}
        self._work = trio.Event()
        self._joined = trio.Event()
        self._pauses: dict[ID, tuple[float, float]] = {}
        """For each peer whose connection was closed: what to wait the next time, and when that was."""

    def notice(self, peer: ID, event: Event) -> None:
        """A watcher of the peer book."""
        if len(self._waiting) < MOST_WAITING or peer in self._waiting:
            self._waiting[peer] = event
            self._work.set()

    async def run(self, seconds: float) -> None:
        """Until cancelled; dead peers are looked for every `seconds`."""
        async with trio.open_nursery() as nursery:
            for peer, addresses in self.bootstrap.items():
                nursery.start_soon(self._join, peer, addresses)
            nursery.start_soon(self._admit)
            nursery.start_soon(self._fill_up)
            nursery.start_soon(self._check_all, seconds)

    async def _join(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Stay connected with a bootstrap peer, however often it goes away."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                connection = await self._transport.swarm.dial(ID.from_string(peer), addresses)
            except AddressRefused as error:
                self._transport.log.warning("bootstrap peer %s is not used: %s", peer, error)
                return
            except SwarmException as error:
                self._transport.log.debug("bootstrap peer %s: %s", peer, error)
            else:
                begin = trio.current_time()
                await self._stay(ID.from_string(peer), connection)
                # One that closes every connection soon is not asked ever faster for that.
                if trio.current_time() - begin > LAST_RETRY_SECONDS:
                    delay = FIRST_RETRY_SECONDS
            await trio.sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311  # so that not all come back at once
            delay = min(delay * 2, LAST_RETRY_SECONDS)

    async def _stay(self, peer: ID, connection: YamuxConnection) -> None:
        """Until `connection` is closed; `peer` is asked again who it is while that keeps it out of the table."""
        pause = IDENTIFY_SECONDS
        while True:
            with trio.move_on_after(pause):
                await connection.event_closed.wait()
                return
            if self._table.peer_in_table(peer):
                pause = LAST_RETRY_SECONDS
                continue
            try:
                await identify(self._transport.book, connection)
            except TransportError as error:
                self._transport.log.debug("bootstrap peer %s is not in the routing table: %s", peer, error)
            pause = min(pause * 2, LAST_RETRY_SECONDS)

    async def _admit(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._work.wait()
                self._work = trio.Event()
                while self._waiting:
                    peer, event = self._waiting.popitem()
                    if event is Event.DISCONNECTED:
                        if self._table.peer_in_table(peer):
                            nursery.start_soon(self._look_after, peer)
                    elif not self._table.serves(peer):
                        self._table.remove_peer(peer)
                    elif not self._table.peer_in_table(peer) and await self._table.add_peer(peer):
                        self._joined.set()
                        self.news.tell()

    async def _fill_up(self) -> None:
        """Look for neighbours whenever somebody new is there."""
        while True:
            await self._joined.wait()
            await trio.sleep(SETTLE_SECONDS)
            self._joined = trio.Event()
            await self._lookup.closest(self._transport.host.get_id().to_bytes())

    async def _look_after(self, peer: ID) -> None:
        """Check `peer`, whose connection was closed: at once, and ever later where it closes one after another."""
        now = trio.current_time()
        pause, since = self._pauses.pop(peer, (0.0, now))
        if now - since > 2 * pause + FORGET_CLOSED_SECONDS:
            pause = 0.0
        self._pauses[peer] = (min(max(2 * pause, FIRST_RETRY_SECONDS), LAST_RETRY_SECONDS), now)
        if len(self._pauses) > MOST_WAITING:
            del self._pauses[next(iter(self._pauses))]
        if pause:
            await trio.sleep(pause)
        if self._transport.swarm.live(peer) is None:
            await self._check(peer)

    async def _check(self, peer: ID) -> None:
        """Take `peer` out of the table unless it can be reached."""
        try:
            await self._transport.swarm.dial(peer, self._lookup.known_addresses(peer))
        except (SwarmException, AddressRefused):
            if self._table.remove_peer(peer):
                self._transport.log.debug("%s is gone from the routing table", peer)

    async def _check_all(self, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            limit = trio.CapacityLimiter(8)

            async def check(peer: ID, limit: trio.CapacityLimiter = limit) -> None:
                async with limit:
                    await self._check(peer)

            async with trio.open_nursery() as nursery:
                for peer in self._table.get_peer_ids():
                    nursery.start_soon(check, peer)
            if self._table.size() < CLOSEST:
                self._joined.set()
            self._records.forget_old()
