"""The DHT's server and routing table, for nodes of Phase.

Source: the libp2p Kademlia DHT specification, under a protocol name of our own (``specs/dht.md``,
``specs/decisions/0013-a-dht-of-its-own.md``). The table's buckets are py-libp2p's. Its server is not used:

* It answers ADD_PROVIDER, as nobody else does: a client that sends one and goes on asking on the same stream, as
  go-libp2p's does, takes that answer for the next question's, and every answer after it for the one before.
* It takes into its table whoever opens a stream, and from each message whatever signed records are in it.
* It serves twelve streams in all, for as long as each peer likes, and keeps fifty thousand values of a megabyte each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice

import anyio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.kad_dht.routing_table import RoutingTable
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStoreError
from libp2p.utils import encode_varint_prefixed

from plasm.shares import Places, origin_of
from plasm_libp2p.addresses import TcpAddress, nearest_last, parse, read_binary
from plasm_libp2p.peers import PeerBook
from plasm_libp2p.records import MOST_ADDRESSES, BoundedRecords
from plasm_libp2p.streams import Libp2pStream

KAD = "/phase/kad/1.0.0"
CLOSEST = 20
"""The specification's k."""
IDLE_SECONDS = 30.0
"""Between two questions on one stream; others keep one for the next, and open another where it is gone."""
LARGEST_QUESTION = 64 * 1024
LONGEST_KEY = 128
MOST_STREAMS = 256
"""Questions that are being waited for or answered at once; beyond that the greediest origin loses one."""
QUESTION_UNITS = 25
BYTES_OF_UNIT = 64
"""What an answer costs, in units of :mod:`plasm_libp2p.budget`: so many, and one for so many bytes of it."""
MOST_LOOKED_AT = 128
"""Addresses of one provider, of which those that this transport cannot dial are passed over."""


class PhaseTable(RoutingTable):
    """A routing table of peers that were identified as servers of this DHT."""

    def serves(self, peer: ID) -> bool:
        """Whether `peer` was identified as a server of this DHT."""
        try:
            return KAD in self.host.get_peerstore().get_protocols(peer)
        except PeerStoreError:
            return False

    async def add_peer(self, peer_obj: PeerInfo | ID, *, skip_server_mode_check: bool = False) -> bool:
        peer = peer_obj.peer_id if isinstance(peer_obj, PeerInfo) else peer_obj
        return self.serves(peer) and await super().add_peer(peer_obj, skip_server_mode_check=True)


class DhtServer:
    """Answers questions from the table and the records of one node."""

    def __init__(self, own: ID, book: PeerBook, table: PhaseTable, records: BoundedRecords) -> None:
        self._own = own
        self._book = book
        self._table = table
        self._records = records
        self._streams: Places[Libp2pStream] = Places(MOST_STREAMS)

    async def serve(self, stream: object) -> None:
        """Answer what is asked on `stream`, a stream of this transport, until it ends."""
        assert isinstance(stream, Libp2pStream)
        lost = self._streams.enter(stream, origin_of(stream.remote_ip, stream.peer))
        if lost is not None:
            await lost.reset()
        try:
            await self._serve(stream)
        except ValueError:
            # What a stranger sends is no fault of this node's, and writes nothing into its log.
            await stream.reset()
        finally:
            self._streams.leave(stream)

    async def _serve(self, stream: Libp2pStream) -> None:
        received = bytearray()
        while True:
            with anyio.move_on_after(IDLE_SECONDS) as patience:
                raw = await _next_message(stream, received)
                if raw is None:
                    return
                answer = self.answer(_read(raw), stream)
                if answer is not None:
                    await stream.send(encode_varint_prefixed(answer))
            if patience.cancelled_caught:
                return
            await stream.charge(QUESTION_UNITS + len(answer or b"") // BYTES_OF_UNIT)

    def answer(self, question: Message, stream: Libp2pStream) -> bytes | None:
        """The answer, serialized; ``None`` where there is none. Raises :exc:`ValueError` for what is not had here."""
        kinds = Message.MessageType
        if question.type == kinds.PING:
            return Message(type=kinds.PING).SerializeToString()
        if not 0 < len(question.key) <= LONGEST_KEY:
            raise ValueError("no key")
        if question.type == kinds.ADD_PROVIDER:
            self._take(question, stream)
            return None
        if question.type not in (kinds.FIND_NODE, kinds.GET_PROVIDERS, kinds.GET_VALUE):
            raise ValueError("there are no values in this DHT")
        answer = bytearray(Message(type=question.type, key=question.key).SerializeToString())
        asker = ID.from_string(stream.peer)
        if question.type == kinds.GET_PROVIDERS:
            for provider in self._records.providers(question.key):
                answer += provider.named
        closest = self._table.find_local_closest_peers(question.key, CLOSEST)
        if question.type == kinds.FIND_NODE:
            # Whoever is looked for is named even where they are no server (the specification's one exception).
            sought = ID(question.key)
            known = sought == self._own or bool(self._book.dialable(sought))
            closest = ([sought] if known else []) + [peer for peer in closest if peer != sought]
        for peer in closest:
            if peer != asker:
                addresses = self._own_addresses() if peer == self._own else self._book.dialable(peer)
                answer += _closer(peer, tuple(addresses))
        return bytes(answer)

    def _own_addresses(self) -> Iterable[TcpAddress]:
        return [parse(str(address)) for address in self._table.host.get_addrs()]

    def _take(self, message: Message, stream: Libp2pStream) -> None:
        peer = ID.from_string(stream.peer)
        for named in islice(message.providerPeers, 8):
            # Nobody announces others.
            if named.id != peer.to_bytes():
                continue
            addresses = read_addresses(named.addrs, stream.peer)
            if addresses:
                self._records.add(message.key, peer, addresses, origin_of(stream.remote_ip, stream.peer))
            return


@lru_cache(maxsize=1024)
def _closer(peer: ID, addresses: tuple[TcpAddress, ...]) -> bytes:
    """`peer` as one of those nearest to a key, serialized: with it an answer is put together by appending."""
    texts = nearest_last(str(address) for address in addresses)[:MOST_ADDRESSES]
    entry = Message.Peer(id=peer.to_bytes(), addrs=[parse(text).binary for text in texts])
    return Message(closerPeers=[entry]).SerializeToString()


def read_addresses(raw: Sequence[bytes], peer: str) -> list[TcpAddress]:
    """Of a stranger's binary multiaddrs those of `peer` that this transport can dial, each with the peer in it."""
    found: dict[TcpAddress, None] = {}
    for each in islice(raw, MOST_LOOKED_AT):
        if len(found) == MOST_ADDRESSES:
            break
        address = read_binary(each)
        if address is not None and address.peer in (None, peer):
            found[address.of(peer)] = None
    return list(found)


def _read(raw: bytes) -> Message:
    """Raises :exc:`ValueError`."""
    message = Message()
    try:
        message.ParseFromString(raw)
    except Exception as error:  # protobuf has an exception of its own for each of its implementations
        raise ValueError("not a message") from error
    return message


async def _next_message(stream: Libp2pStream, received: bytearray) -> bytes | None:
    """The next message of varint length and body; what came behind it stays in `received`.

    ``None`` at the end. Raises :exc:`ValueError` for one that is too long.
    """
    while True:
        size = shift = at = 0
        for at, byte in enumerate(received[:4], 1):  # noqa: B007
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        else:
            size = -1
            if len(received) >= 4:
                raise ValueError("a message is too long")
        if size > LARGEST_QUESTION:
            raise ValueError("a message is too long")
        if 0 <= size <= len(received) - at:
            message = bytes(received[at : at + size])
            del received[: at + size]
            return message
        piece = await stream.receive()
        if not piece:
            return None
        received += piece
