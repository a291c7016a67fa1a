"""What is known of other peers, and who wants to hear of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from multiaddr import Multiaddr  # type: ignore[import-untyped]

MOST_PROTOCOLS = 128
MOST_ADDRESSES = 32
KEEP_SECONDS = 2**31


class Event(Enum):
    """What happened to a peer."""

    IDENTIFIED = "identified"
    """It said, or said anew, which protocols it speaks."""
    DISCONNECTED = "disconnected"


Watcher = Callable[[ID, Event], None]


class PeerBook(PeerStore):
    """The peer store of one host. It holds little of each peer, as all of it is the peer's word."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: list[Watcher] = []

    def tell(self, peer: ID, event: Event) -> None:
        """Call every watcher."""
        for watcher in list(self.watchers):
            watcher(peer, event)

    def set_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        super().set_protocols(peer_id, list(protocols)[:MOST_PROTOCOLS])
        self.tell(peer_id, Event.IDENTIFIED)

    def add_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        super().add_protocols(peer_id, list(protocols)[:MOST_PROTOCOLS])
        self.tell(peer_id, Event.IDENTIFIED)

    def add_addrs(self, peer_id: ID, addrs: Sequence[Multiaddr], ttl: int = 0) -> None:
        known = self.peer_data_map[peer_id].get_addrs() if peer_id in self.peer_data_map else []
        if len(known) + len(addrs) > MOST_ADDRESSES:
            self.clear_addrs(peer_id)
        # A peer says its addresses when it connects, and keeps them for as long as it stays, which may be months.
        super().add_addrs(peer_id, list(addrs)[:MOST_ADDRESSES], max(ttl, KEEP_SECONDS))


class Notices(INotifee):
    """The network's notices, told to the watchers of a peer book."""

    def __init__(self, book: PeerBook) -> None:
        self._book = book

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        """Identification follows, and tells more."""

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        peer = conn.muxed_conn.peer_id
        if not network.connections.get(peer):
            # The next connection may be to another version of it.
            self._book.clear_protocol_data(peer)
            self._book.tell(peer, Event.DISCONNECTED)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Not told."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Not told."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Not told."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Not told."""
