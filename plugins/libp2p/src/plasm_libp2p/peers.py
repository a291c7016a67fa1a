"""What is known of other peers, and who wants to hear of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum

from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.keys import PublicKey
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore, PeerStoreError
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from plasm.ports import AddressRefused
from plasm.shares import Origin, Places
from plasm_libp2p.addresses import TcpAddress, parse, read_binary

MOST_PROTOCOLS = 128
MOST_ADDRESSES = 32
KEEP_SECONDS = 2**31
_NOT_CONNECTED = Origin(network="not connected")
"""Of peers that are known, but not from a connection that is counted: together no more than one network."""


class Event(Enum):
    """What happened to a peer."""

    IDENTIFIED = "identified"
    """It said, or said anew, which protocols it speaks."""
    DISCONNECTED = "disconnected"


Watcher = Callable[[ID, Event], None]


def _is_dialable(address: Multiaddr) -> bool:
    return read_binary(address.to_bytes()) is not None


class PeerBook(PeerStore):
    """The peer store of the host `own`. It holds little of each peer, as all of it is the peer's word.

    Besides itself and whoever is connected it remembers ``max_peers``, shared by where their connections came from, so
    that one stranger's identities do not make it forget the rest of the routing table. py-libp2p's forgets who has no
    addresses first, and that is itself.
    """

    def __init__(self, own: ID) -> None:
        super().__init__()
        self.watchers: list[Watcher] = []
        self.is_connected: Callable[[ID], bool] = lambda peer: False
        self._own = own
        self._gone: Places[ID] = Places(self.max_peers)

    def tell(self, peer: ID, event: Event) -> None:
        """Call every watcher."""
        for watcher in list(self.watchers):
            watcher(peer, event)

    def set_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        super().set_protocols(peer_id, list(protocols)[:MOST_PROTOCOLS])
        self.heard_of(peer_id)
        self.tell(peer_id, Event.IDENTIFIED)

    def add_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        super().add_protocols(peer_id, list(protocols)[:MOST_PROTOCOLS])
        self.heard_of(peer_id)
        self.tell(peer_id, Event.IDENTIFIED)

    def add_addrs(self, peer_id: ID, addrs: Sequence[Multiaddr], ttl: int = 0) -> None:
        # A stranger's word must not choose which names this node asks the resolver for, and what cannot be dialed must
        # not take the place of what can.
        addrs = [address for address in addrs if _is_dialable(address)]
        known = self.peer_data_map[peer_id].get_addrs() if peer_id in self.peer_data_map else []
        if len(known) + len(addrs) > MOST_ADDRESSES:
            self.clear_addrs(peer_id)
        # A peer says its addresses when it connects, and keeps them for as long as it stays, which may be months.
        super().add_addrs(peer_id, addrs[:MOST_ADDRESSES], max(ttl, KEEP_SECONDS))
        self.heard_of(peer_id)

    def set_addresses(self, peer: ID, addresses: Sequence[str]) -> None:
        """`peer` can be reached at `addresses`, TCP multiaddrs without the peer, and nowhere else."""
        with suppress(PeerStoreError):
            self.clear_addrs(peer)
        self.add_addrs(peer, [Multiaddr(address) for address in addresses])

    def dialable(self, peer: ID) -> list[TcpAddress]:
        """Where `peer` can be reached, as far as it said so."""
        try:
            texts = [str(address) for address in self.addrs(peer)]
        except PeerStoreError:
            return []
        found = []
        for text in texts:
            with suppress(AddressRefused):
                found.append(parse(text))
        return found

    def add_pubkey(self, peer_id: ID, pubkey: PublicKey) -> None:
        super().add_pubkey(peer_id, pubkey)
        self.heard_of(peer_id)

    def heard_of(self, peer: ID) -> None:
        """Something is known of `peer` now, connected or not."""
        if peer not in self._gone:
            self.gone(peer, _NOT_CONNECTED)

    def came(self, peer: ID) -> None:
        """`peer` is connected: it is remembered for as long as it is."""
        self._gone.leave(peer)

    def gone(self, peer: ID, origin: Origin) -> None:
        """`peer` is not connected any more, and was from `origin`."""
        self._gone.leave(peer)
        if peer == self._own or peer not in self.peer_data_map or self.is_connected(peer):
            return
        lost = self._gone.enter(peer, origin)
        if lost is not None:
            self.peer_record_map.pop(lost, None)
            del self.peer_data_map[lost]

    def _enforce_peer_limit(self) -> None:
        """Not py-libp2p's way: see :meth:`gone`."""


class Notices(INotifee):
    """The network's notices, told to the watchers of a peer book."""

    def __init__(self, book: PeerBook) -> None:
        self._book = book

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        self._book.came(conn.muxed_conn.peer_id)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        peer = conn.muxed_conn.peer_id
        if not network.connections.get(peer):
            # The next connection may be to another version of it.
            self._book.clear_protocol_data(peer)
            origin = getattr(conn.muxed_conn, "origin", None)
            self._book.gone(peer, origin if isinstance(origin, Origin) else _NOT_CONNECTED)
            self._book.tell(peer, Event.DISCONNECTED)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Not told."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Not told."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Not told."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Not told."""
