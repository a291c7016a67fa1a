"""Who a peer is, beyond its key: what this node says of itself, and what it takes from others.

Source: the libp2p identify specification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import islice

import trio
from libp2p.abc import IHost
from libp2p.exceptions import BaseLibp2pError
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import PROTOCOL_VERSION
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.peer.id import ID
from libp2p.peer.peerstore import env_to_send_in_RPC
from libp2p.utils import encode_varint_prefixed
from libp2p.utils.varint import read_varint_prefixed_bytes_limited
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from plasm.ports import DialFailed, TransportError
from plasm_libp2p.addresses import TcpAddress, read_binary
from plasm_libp2p.muxed_stream import YamuxStream
from plasm_libp2p.negotiation import open_negotiated
from plasm_libp2p.peers import MOST_ADDRESSES, PeerBook
from plasm_libp2p.yamux import YamuxConnection

AGENT = f"plasm/{metadata.version('plasm-libp2p')}"
"""What the tools of other implementations show."""
ANSWER_SECONDS = 5.0
LARGEST_ANSWER = 64 * 1024
"""Ours is below 1 KiB; other implementations send several, with a signed record."""
MOST_LOOKED_AT = 256
"""Addresses of one message, of which those that this transport cannot dial are passed over."""
FRESH_SECONDS = 1.0
"""For which the addresses of this machine are taken as they were."""


class Description:
    """What this node says of itself."""

    def __init__(self, host: IHost, addresses: Callable[[], Sequence[str]]) -> None:
        self._host = host
        self._addresses = addresses
        self._written = b""
        self._about: tuple[object, ...] = ()
        self._until = -1.0

    def message(self, seen_at: tuple[str, int] | None) -> bytes:
        """With its length in front, for a peer whose connection comes from `seen_at`."""
        body = self._body()
        if seen_at is not None:
            host, port = seen_at
            observed = TcpAddress("ip6" if ":" in host else "ip4", host.partition("%")[0], port).binary
            # A protobuf message and another behind it are one with the fields of both.
            body += Identify(observed_addr=observed).SerializeToString()
        return encode_varint_prefixed(body)

    def _body(self) -> bytes:
        now = trio.current_time()
        protocols = tuple(str(protocol) for protocol in self._host.get_mux().get_protocols() if protocol is not None)
        if now > self._until or self._about[:1] != (protocols,):
            addresses = tuple(self._addresses())
            if self._about != (protocols, addresses):
                self._written = self._write(protocols, addresses)
                self._about = (protocols, addresses)
            self._until = now + FRESH_SECONDS
        return self._written

    def _write(self, protocols: Sequence[str], addresses: Sequence[str]) -> bytes:
        signed, _ = env_to_send_in_RPC(self._host)
        # The specification wants addresses without the peer.
        listens = [Multiaddr(address.partition("/p2p/")[0]).to_bytes() for address in addresses]
        return Identify(
            protocol_version=PROTOCOL_VERSION,
            agent_version=AGENT,
            public_key=self._host.get_public_key().serialize(),
            listen_addrs=listens,
            protocols=protocols,
            signedPeerRecord=signed,
        ).SerializeToString()


async def read_description(stream: YamuxStream) -> Identify:
    """What the peer says of itself on `stream`. Raises :exc:`TransportError`, or what the stream raises."""
    said = Identify()
    try:
        said.ParseFromString(await read_varint_prefixed_bytes_limited(stream, LARGEST_ANSWER))
    except BaseLibp2pError:
        raise
    except Exception as error:  # protobuf has an exception of its own for each of its implementations
        raise TransportError(f"{stream.muxed_conn.peer_id} answered nonsense: {type(error).__name__}") from None
    return said


def learn(book: PeerBook, peer: ID, said: Identify) -> None:
    """Put into `book` what `peer` said of itself; what stood there before is replaced."""
    if said.listen_addrs:
        found: dict[str, None] = {}
        for raw in islice(said.listen_addrs, MOST_LOOKED_AT):
            address = read_binary(raw)
            if address is not None and address.peer in (None, peer.to_base58()) and len(found) < MOST_ADDRESSES:
                found[str(address).partition("/p2p/")[0]] = None
        book.set_addresses(peer, list(found))
    if said.protocols:
        book.set_protocols(peer, list(said.protocols))


async def identify(book: PeerBook, connection: YamuxConnection) -> None:
    """Ask the peer of `connection` who it is, and put that into `book`. Raises :exc:`TransportError`."""
    peer = connection.peer_id
    try:
        with trio.fail_after(ANSWER_SECONDS):
            stream = await open_negotiated(connection, str(IDENTIFY))
            try:
                said = await read_description(stream)
            finally:
                stream.leave()
    except (trio.TooSlowError, BaseLibp2pError, DialFailed) as error:
        raise TransportError(f"{peer} did not say who it is: {type(error).__name__}") from None
    if connection.is_closed:
        raise TransportError(f"the connection to {peer} is closed")
    learn(book, peer, said)


async def push(description: Description, connection: YamuxConnection) -> None:
    """Tell the peer of `connection` what has changed; whether it listens is its own affair."""
    try:
        with trio.move_on_after(ANSWER_SECONDS):
            stream = await open_negotiated(connection, str(ID_PUSH))
            try:
                await stream.send(description.message(None))
            finally:
                stream.leave()
    except (BaseLibp2pError, DialFailed):
        return
