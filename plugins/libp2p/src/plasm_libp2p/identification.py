"""Asking a connected peer who it is once more.

Source: the libp2p identify specification. py-libp2p asks once for each connection, and says nothing where no answer
comes.
"""

from __future__ import annotations

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.update import update_peerstore_from_identify
from libp2p.peer.id import ID
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from plasm.ports import TransportError
from plasm_libp2p.transport import Libp2p

ANSWER_SECONDS = 5.0
LARGEST_ANSWER = 64 * 1024
"""Ours is below 1 KiB; other implementations send several, with a signed record."""


async def identify(transport: Libp2p, peer: ID) -> None:
    """Put into the peer book what `peer` says of itself, as if it had just connected. Raises :exc:`TransportError`."""
    connection = transport.swarm.live(peer)
    if connection is None:
        raise TransportError(f"there is no connection to {peer}")
    try:
        with trio.fail_after(ANSWER_SECONDS):
            stream = await transport.negotiate(connection, str(IDENTIFY))
            try:
                answer = Identify()
                answer.ParseFromString(await read_varint_prefixed_bytes_limited(stream, LARGEST_ANSWER))
            finally:
                stream.leave()
            if connection.is_closed:
                raise TransportError(f"the connection to {peer} is closed")
            await update_peerstore_from_identify(transport.book, peer, answer)
    except (trio.TooSlowError, BaseLibp2pError) as error:
        raise TransportError(f"{peer} did not say who it is: {type(error).__name__}") from None
    except TransportError:
        raise
    except Exception as error:  # protobuf has an exception of its own for each of its implementations
        raise TransportError(f"{peer} answered nonsense: {type(error).__name__}") from None
