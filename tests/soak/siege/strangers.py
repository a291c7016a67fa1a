"""Strangers: identities without a home, each at a loopback address of its own choice."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from libp2p.peer.id import ID
from plasm_libp2p.addresses import parse
from plasm_libp2p.hooks import Libp2pOptions
from plasm_libp2p.transport import Libp2p, open_libp2p
from plasm_libp2p.wire import WireConnection
from plasm_libp2p.yamux import YamuxConnection

from plasm.ports import Signer
from plasm.testing.scope import make_scope

ADDRESSES = 40
CONNECT_SECONDS = 20.0


def address_of(number: int) -> str:
    """The `number`-th address of the attackers: each in a /24 network of its own, and none in that of 127.0.0.1."""
    return f"127.{number // 250 + 7}.{number % 250 + 1}.9"


class ThrowawayKey:
    """A signer whose key is kept nowhere."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


@contextlib.asynccontextmanager
async def stranger(listen: Sequence[str] = ()) -> AsyncIterator[Libp2p]:
    """A new identity with a transport, without any connection."""
    provided: dict[type[Any], object] = {Signer: ThrowawayKey()}
    options = Libp2pOptions(dial_timeout_seconds=CONNECT_SECONDS, stream_timeout_seconds=CONNECT_SECONDS)
    async with open_libp2p(make_scope(listen=tuple(listen), provided=provided), options) as transport:
        yield transport


async def connect(transport: Libp2p, node: str, source: str) -> YamuxConnection:
    """A connection of `transport` to the multiaddr `node`, made from the IP address `source`.

    Raises :exc:`ConnectionError` where the node does not take it, and :exc:`trio.TooSlowError`.
    """
    address = parse(node)
    assert address.peer is not None
    peer = ID.from_string(address.peer)
    with trio.fail_after(CONNECT_SECONDS):
        connecting = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            await connecting.bind((source, 0))
            await connecting.connect((address.host, address.port))
            connected = socket.socket(fileno=connecting.detach())
        finally:
            connecting.close()
        wire = WireConnection(connected, initiator=True)
        try:
            await transport.swarm.upgrade_outbound_raw_conn(wire, peer)
        except BaseException as error:
            wire.abort()
            if isinstance(error, Exception):
                raise ConnectionError(str(error)) from error
            raise
    connection = transport.swarm.live(peer)
    if connection is None:
        raise ConnectionError("the node closed the connection at once")
    return connection
