"""Asking other nodes of the DHT: iterative lookups and announcements.

Source: the libp2p Kademlia DHT specification (FIND_NODE, GET_PROVIDERS, ADD_PROVIDER). py-libp2p's lookup stops at
records that it holds itself, and reports what it found only when the slowest peer has answered.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.utils import encode_varint_prefixed
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from plasm.identity import InvalidIdentity, base58_encode, parse_peer_id
from plasm.ports import AddressRefused, PeerId, TransportError
from plasm.shares import networks_named
from plasm_libp2p.addresses import TcpAddress
from plasm_libp2p.kademlia import CLOSEST, KAD, MOST_LOOKED_AT, PhaseTable, read_addresses
from plasm_libp2p.records import MOST_ADDRESSES
from plasm_libp2p.transport import Libp2p

ASK_SECONDS = 4.0
"""For one peer, dialing included. A lookup goes on with the others meanwhile."""
LOOKUP_SECONDS = 15.0
LARGEST_ANSWER = 512 * 1024
MOST_NAMED = 300
"""Peers of one answer that are looked at."""
MOST_ADDRESSES_OF_ANSWER = MOST_NAMED * MOST_ADDRESSES
"""Addresses of one answer that are looked at: as many as nodes of Phase name. Reading more holds up all else here."""
MOST_CANDIDATES = 512


@dataclass(frozen=True, kw_only=True)
class LookupPatience:
    """How many peers one lookup asks at once, and how long, in seconds, a silent one keeps others from being asked."""

    at_once: int = 8
    """Peers that are asked and may still answer in time."""
    place_seconds: float = 0.5
    """After this a peer that has not answered gives its place to the next one, and is waited for beside it."""
    most_waited_for: int = 64
    """Peers that were asked and have not answered, those that gave their places away included."""


Provider = Callable[[PeerId, tuple[str, ...]], None]


def record_key(topic_key: str) -> bytes:
    """The DHT key of a topic: the SHA-256 multihash of :attr:`plasm.ports.CapabilityTopic.key`."""
    return b"\x12\x20" + hashlib.sha256(topic_key.encode()).digest()


def distance(peer: ID, key: bytes) -> int:
    """How far `peer` is from `key`; the specification's XOR of their SHA-256."""
    mine, theirs = hashlib.sha256(peer.to_bytes()).digest(), hashlib.sha256(key).digest()
    return int.from_bytes(mine, "big") ^ int.from_bytes(theirs, "big")


def read_peers(peers: Iterable[Message.Peer]) -> list[tuple[PeerId, tuple[str, ...]]]:
    """What an answer says about peers, as far as it can be used; the rest is dropped in silence."""
    usable = []
    left = MOST_ADDRESSES_OF_ANSWER
    for named in islice(peers, MOST_NAMED):
        try:
            peer = parse_peer_id(base58_encode(named.id[:64]))
        except InvalidIdentity:
            continue
        looked_at = named.addrs[: min(left, MOST_LOOKED_AT)]
        left -= len(looked_at)
        usable.append((peer, tuple(str(address) for address in read_addresses(looked_at, peer))))
    return usable


class Lookup:
    """Lookups of one node."""

    def __init__(self, transport: Libp2p, table: PhaseTable, patience: LookupPatience | None = None) -> None:
        self._transport = transport
        self._table = table
        self._patience = patience or LookupPatience()

    async def ask(self, peer: ID, addresses: Sequence[str], message: Message) -> Message:
        """The answer of `peer`. Raises :exc:`TransportError`."""
        try:
            with trio.fail_after(ASK_SECONDS):
                connection = await self._transport.swarm.dial(peer, addresses)
                stream = await self._transport.negotiate(connection, KAD)
                try:
                    await stream.send(encode_varint_prefixed(message.SerializeToString()))
                    # Not half-closed before the answer is here: some take that for a failure, and reset the stream.
                    answer = Message()
                    answer.ParseFromString(await read_varint_prefixed_bytes_limited(stream, LARGEST_ANSWER))
                    return answer
                finally:
                    stream.leave()
        except (trio.TooSlowError, SwarmException, BaseLibp2pError, AddressRefused) as error:
            raise TransportError(f"{peer} did not answer: {type(error).__name__}") from None
        except TransportError:
            raise
        except Exception as error:  # protobuf has an exception of its own for each of its implementations
            raise TransportError(f"{peer} answered nonsense: {type(error).__name__}") from None

    async def tell(self, peer: ID, addresses: Sequence[str], message: Message) -> None:
        """Send `message`, to which nobody answers. Raises :exc:`TransportError` where it could not be written.

        What becomes of the stream behind it says nothing: go and rust close it in order, js resets it although it kept
        the record.
        """
        try:
            with trio.fail_after(ASK_SECONDS):
                connection = await self._transport.swarm.dial(peer, addresses)
                stream = await self._transport.negotiate(connection, KAD)
                try:
                    await stream.send(encode_varint_prefixed(message.SerializeToString()))
                finally:
                    stream.leave()
        except (trio.TooSlowError, SwarmException, BaseLibp2pError, AddressRefused) as error:
            raise TransportError(f"{peer} was not told: {type(error).__name__}") from None

    def known_addresses(self, peer: ID) -> list[str]:
        """What `peer` said of itself."""
        return [str(address) for address in self._transport.book.dialable(peer)]

    async def providers(self, key: bytes, provider: Provider) -> list[ID]:
        """Call `provider` with each as it becomes known; the closest peers that answered."""
        message = Message(type=Message.MessageType.GET_PROVIDERS, key=key)

        def on_answer(answer: Message) -> None:
            for peer, addresses in read_peers(answer.providerPeers):
                provider(peer, addresses)

        return await self._walk(key, message, on_answer)

    async def closest(self, key: bytes) -> list[ID]:
        """The peers closest to `key` that answered."""
        return await self._walk(key, Message(type=Message.MessageType.FIND_NODE, key=key), lambda answer: None)

    async def _walk(self, key: bytes, message: Message, on_answer: Callable[[Message], None]) -> list[ID]:
        own = self._transport.host.get_id()
        candidates: dict[ID, list[str]] = {
            peer: self.known_addresses(peer) for peer in self._table.find_local_closest_peers(key, CLOSEST)
        }
        asked: set[ID] = set()
        failed: set[ID] = set()
        since: dict[ID, float] = {}  # of those that have not answered yet: when they were asked
        progress = trio.Event()

        def next_peer(late: set[ID]) -> ID | None:
            silent = Counter(network for peer in late | failed for network in networks_named(candidates[peer]))

            def rank(peer: ID) -> tuple[int, int]:
                blamed = max(silent[network] for network in networks_named(candidates[peer])) if silent else 0
                return blamed, distance(peer, key)

            best = sorted((peer for peer in candidates if peer not in failed and peer not in late), key=rank)
            return next((peer for peer in best[:CLOSEST] if peer not in asked), None)

        async def ask_one(peer: ID) -> None:
            try:
                answer = await self.ask(peer, candidates[peer], message)
                on_answer(answer)
                for named, addresses in read_peers(answer.closerPeers):
                    identifier = ID.from_string(named)
                    if identifier != own and addresses and len(candidates) < MOST_CANDIDATES:
                        candidates.setdefault(identifier, list(addresses))
            except TransportError:
                failed.add(peer)
                if self._transport.swarm.live(peer) is None:
                    self._table.remove_peer(peer)
            finally:
                del since[peer]
                progress.set()

        with trio.move_on_after(LOOKUP_SECONDS):
            async with trio.open_nursery() as nursery:
                while True:
                    progress = trio.Event()
                    now = trio.current_time()
                    late = {peer for peer, begin in since.items() if now - begin >= self._patience.place_seconds}
                    timely = [begin for peer, begin in since.items() if peer not in late]
                    peer = next_peer(late)
                    if peer is None and not since:
                        break
                    room = len(timely) < self._patience.at_once and len(since) < self._patience.most_waited_for
                    if peer is not None and room:
                        asked.add(peer)
                        since[peer] = now
                        nursery.start_soon(ask_one, peer)
                        await trio.lowlevel.checkpoint()
                        continue
                    # A place that is given away has others asked: those that waited for it, and those farther away.
                    with trio.move_on_at(min(timely, default=math.inf) + self._patience.place_seconds):
                        await progress.wait()
        answered = [peer for peer in asked if peer not in failed and peer not in since]
        return sorted(answered, key=lambda peer: distance(peer, key))[:CLOSEST]

    async def announce(self, key: bytes, addresses: Sequence[TcpAddress], peers: Iterable[ID]) -> set[ID]:
        """Tell `peers` that this node provides `key` at `addresses`; those that were told."""
        message = Message(type=Message.MessageType.ADD_PROVIDER, key=key)
        entry = message.providerPeers.add()
        entry.id = self._transport.host.get_id().to_bytes()
        entry.addrs.extend(address.binary for address in addresses)
        told: set[ID] = set()

        async def tell(peer: ID) -> None:
            async with limit:
                try:
                    await self.tell(peer, self.known_addresses(peer), message)
                except TransportError:
                    return
                told.add(peer)

        limit = trio.Semaphore(self._patience.at_once)
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(tell, peer)
        return told
