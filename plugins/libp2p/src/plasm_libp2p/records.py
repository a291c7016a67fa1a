"""Provider records that other nodes announced here: bounded, short-lived, and shared between strangers.

py-libp2p keeps twenty providers of a topic for two days and refuses the twenty-first, so that a topic that everybody
offers is full of nodes that left long ago, and it keeps any number of topics.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID

from plasm.shares import Origin, Places
from plasm_libp2p.addresses import TcpAddress

MOST_RECORDS = 16384
MOST_TOPICS_OF_PEER = 64
"""That one peer announces; honest ones announce a few."""
MOST_PROVIDERS = 256
"""Of one topic; an answer that names them all stays under 64 KiB."""
MOST_ADDRESSES = 16
_CROWDED = 64
"""Providers of a topic from which on it is counted who they are; most topics never have as many."""
_KEY_START = b"\x12\x20"
_KEY_SIZE = 34


@dataclass(frozen=True)
class Provider:
    """Who provides a topic, and where it says that it can be reached."""

    peer: ID
    addresses: tuple[TcpAddress, ...]
    origin: Origin
    """Where the connection came from over which it was announced."""
    announced: float
    named: bytes
    """It as a provider in an answer, serialized: one names hundreds, and is put together by appending."""


@dataclass
class _Topic:
    providers: OrderedDict[ID, Provider] = field(default_factory=OrderedDict)
    """The one that was announced last at the end."""
    places: Places[ID] | None = None


class BoundedRecords:
    """Provider records by topic key, which is a SHA-256 multihash; others are ignored.

    Where a topic, or all together, has as many as are kept, the network that holds most gives one up, chosen at random:
    in a topic first one of a peer that is no longer connected. The node's own records stay.
    """

    def __init__(
        self,
        own: ID,
        seconds: float,
        changed: Callable[[], None],
        is_connected: Callable[[ID], bool] = lambda peer: False,
    ) -> None:
        self._own = own
        self._seconds = seconds
        self._changed = changed
        self._is_connected = is_connected
        self._topics: dict[bytes, _Topic] = {}
        self._held: dict[ID, OrderedDict[bytes, None]] = {}
        """The topics of each other peer, the one that it announced last at the end."""
        self._places: Places[tuple[bytes, ID]] = Places(MOST_RECORDS)

    def add(self, key: bytes, peer: ID, addresses: Sequence[TcpAddress], origin: Origin) -> None:
        """`peer`, which is connected from `origin`, provides `key` at `addresses`."""
        if len(key) != _KEY_SIZE or not key.startswith(_KEY_START):
            return
        self.remove(key, peer)
        topic = self._topics.setdefault(key, _Topic())
        kept = tuple(addresses[:MOST_ADDRESSES])
        entry = Message.Peer(id=peer.to_bytes(), addrs=[address.binary for address in kept])
        named = Message(providerPeers=[entry]).SerializeToString()
        topic.providers[peer] = Provider(peer, kept, origin, time.monotonic(), named)
        if peer != self._own:
            held = self._held.setdefault(peer, OrderedDict())
            held[key] = None
            if len(held) > MOST_TOPICS_OF_PEER:
                self.remove(next(iter(held)), peer)
            lost = self._places.enter((key, peer), origin)
            if lost is not None:
                self.remove(*lost)
            self._bound(key, topic, peer)
        self._changed()

    def _bound(self, key: bytes, topic: _Topic, newest: ID) -> None:
        if len(topic.providers) <= _CROWDED or newest not in topic.providers:
            return
        if topic.places is None:
            topic.places = Places(MOST_PROVIDERS - 1)  # and one for the node itself
            entering = [peer for peer in topic.providers if peer != self._own]
        else:
            entering = [newest]
        for peer in entering:
            lost = topic.places.enter(
                peer, topic.providers[peer].origin, first=lambda other: not self._is_connected(other)
            )
            if lost is not None:
                self.remove(key, lost)

    def remove(self, key: bytes, peer: ID) -> None:
        """Forget what `peer` announced under `key`."""
        topic = self._topics.get(key)
        if topic is None or topic.providers.pop(peer, None) is None:
            return
        if topic.places is not None:
            topic.places.leave(peer)
        if not topic.providers:
            del self._topics[key]
        self._places.leave((key, peer))
        held = self._held.get(peer)
        if held is not None:
            held.pop(key, None)
            if not held:
                del self._held[peer]

    def providers(self, key: bytes) -> list[Provider]:
        """Who provides `key`, whoever announced it last first."""
        self._forget_old(key)
        topic = self._topics.get(key)
        return list(reversed(topic.providers.values())) if topic is not None else []

    def forget_old(self) -> None:
        """Drop every record that has lapsed."""
        for key in list(self._topics):
            self._forget_old(key)

    def _forget_old(self, key: bytes) -> None:
        limit = time.monotonic() - self._seconds
        topic = self._topics.get(key)
        # In the order in which they were announced, so that the first that has not lapsed ends the search.
        while topic is not None and topic.providers:
            oldest = next(iter(topic.providers.values()))
            if oldest.announced >= limit:
                return
            self.remove(key, oldest.peer)

    def __len__(self) -> int:
        return sum(len(topic.providers) for topic in self._topics.values())
