"""py-libp2p's Kademlia server and routing table, for nodes that speak a Phase protocol only.

Source: the libp2p Kademlia DHT specification. What is done differently, and why:

* Only peers that were identified as a DHT server and a Phase node enter the routing table. py-libp2p takes whoever is
  mentioned by anybody, and whoever opens a DHT stream.
* A stream that the asker ended in order is closed in order. py-libp2p's own streams raise at their end, which its
  handler takes for a failure, so that it resets the stream behind its answer.
* An inbound DHT stream has a deadline, and a peer a few of them at most. py-libp2p serves twelve in all, for as long as
  each peer likes.
* Values are refused, as Phase has none. py-libp2p keeps up to fifty thousand of a megabyte each.
* Its own lookups are replaced by :mod:`plasm_libp2p.lookup`, so that its periodic refresh takes nothing from peers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.common import PROTOCOL_ID
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.peer_routing import PeerRouting
from libp2p.kad_dht.routing_table import RoutingTable
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStoreError
from libp2p.records.validator import NamespacedValidator

from plasm_libp2p.records import BoundedRecords

KAD = str(PROTOCOL_ID)
STREAM_SECONDS = 10.0
"""A request and its answer; lookups by honest nodes give up earlier."""
MOST_STREAMS = 256
MOST_STREAMS_OF_PEER = 8


class PhaseTable(RoutingTable):
    """A routing table of identified Phase nodes."""

    def speaks_phase(self, peer: ID) -> bool:
        """Whether `peer` was identified as a DHT server and a Phase node."""
        try:
            protocols = self.host.get_peerstore().get_protocols(peer)
        except PeerStoreError:
            return False
        return KAD in protocols and any(protocol.startswith("/phase/") for protocol in protocols)

    async def add_peer(self, peer_obj: PeerInfo | ID, *, skip_server_mode_check: bool = False) -> bool:
        peer = peer_obj.peer_id if isinstance(peer_obj, PeerInfo) else peer_obj
        return self.speaks_phase(peer) and await super().add_peer(peer_obj, skip_server_mode_check=True)


class LocalRouting(PeerRouting):
    """What the routing table holds, without asking anybody."""

    async def find_closest_peers_network(self, target_key: bytes, count: int = 20) -> list[ID]:
        await trio.lowlevel.checkpoint()
        return self.routing_table.find_local_closest_peers(target_key, count)


class EndingStream(INetStream):
    """A stream that reads ``b""`` at its end, as py-libp2p's Kademlia handler expects it."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream
        self.muxed_conn = stream.muxed_conn
        self.metric_send_channel = stream.metric_send_channel

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self._stream.read(n)
        except StreamEOF:
            return b""

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def close(self) -> None:
        await self._stream.close()

    async def reset(self) -> None:
        await self._stream.reset()

    def get_protocol(self) -> TProtocol | None:
        return self._stream.get_protocol()

    def set_protocol(self, protocol_id: TProtocol) -> None:
        self._stream.set_protocol(protocol_id)

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._stream.get_remote_address()


class PhaseKad(KadDHT):
    """The DHT of one node."""

    def __init__(self, host: IHost, *, server: bool, record_seconds: float, changed: Callable[[], None]) -> None:
        super().__init__(
            host,
            DHTMode.SERVER if server else DHTMode.CLIENT,
            validator=NamespacedValidator({}, strict_validation=True),
            validator_changed=True,
            strict_validation=True,
        )
        self.table = PhaseTable(self.local_peer_id, host)
        self.routing_table = self.table
        self.peer_routing = LocalRouting(host, self.table)
        self.records = BoundedRecords(host, record_seconds, changed)
        self.provider_store = self.records
        self._inbound_limiter = trio.CapacityLimiter(MOST_STREAMS)
        self._streams: Counter[ID] = Counter()

    async def handle_stream(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        if self._streams[peer] >= MOST_STREAMS_OF_PEER:
            await stream.reset()
            return
        self._streams[peer] += 1
        try:
            with trio.move_on_after(STREAM_SECONDS) as patience:
                await super().handle_stream(EndingStream(stream))
            if patience.cancelled_caught:
                await stream.reset()
        finally:
            self._streams[peer] -= 1
            self._streams += Counter()  # drops what is zero
