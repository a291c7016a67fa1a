"""What the attackers do with offers that the node accepts, and with what they say of themselves."""

from __future__ import annotations

import os
import secrets

import trio
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.utils import encode_varint_prefixed
from plasm_libp2p.addresses import TcpAddress
from plasm_libp2p.negotiation import open_negotiated
from plasm_libp2p.transport import Libp2p

from plasm.identity import peer_of_address
from plasm.jobs.framing import FrameReader
from plasm.jobs.manifest import Job, Manifest, job_id, sha256
from plasm.jobs.messages import PROTOCOL, Accepted, Cancel, Offer, Piece, Rejected, decode_reply, encode
from plasm.ports import Stream
from tests.bench.programs import HELLO
from tests.soak.siege.attack import PAUSE_SECONDS, Attack, connected, from_each

_MODULE = HELLO.read_bytes()
_NEVER_SENT_BYTES = 16 * 2**20
_TRICKLING = 6
_PUSHED = 1500
"""Protocols and addresses of one description: some 40 KiB of it."""


async def cancels(attack: Attack) -> None:
    """Have jobs accepted, and cancel them at once."""
    peer = peer_of_address(attack.node)

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (transport, _):
            while True:
                offer = _offer(_MODULE)
                cancel = encode(Cancel(job_id=job_id(transport.peer, offer.nonce, offer.job.digest())))
                for request in (encode(offer) + cancel, cancel):
                    stream = await transport.open_stream(peer, [], PROTOCOL)
                    await stream.send(request)
                    await _reply(attack, stream)
                    await stream.reset()

    await from_each(attack, one, 3)


async def unfinished(attack: Attack) -> None:
    """Have jobs accepted whose modules never come: on streams that are kept, and on others that are left."""
    peer = peer_of_address(attack.node)

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (transport, _):
            while True:
                stream = await transport.open_stream(peer, [], PROTOCOL)
                job = Job(manifest=Manifest(module_hash=sha256(secrets.token_bytes(8))))
                await stream.send(encode(_offer_of(job, module_size=_NEVER_SENT_BYTES)))
                if isinstance(await _reply(attack, stream), Rejected):
                    await trio.sleep(PAUSE_SECONDS)
                if secrets.randbelow(2):
                    await stream.reset()

    await from_each(attack, one, 2)


async def trickle(attack: Attack) -> None:
    """Have jobs accepted whose inputs come a byte a second."""
    data = os.urandom(2**20)

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (transport, _), trio.open_nursery() as nursery:
            for _ in range(_TRICKLING):
                nursery.start_soon(bring, transport)

    async def bring(transport: Libp2p) -> None:
        stream = await transport.open_stream(peer_of_address(attack.node), [], PROTOCOL)
        await stream.send(encode(_offer(_MODULE, data)))
        if not isinstance(await _reply(attack, stream), Accepted):
            raise ConnectionError("the node did not take the job")
        for byte in _MODULE + data:
            await stream.send(encode(Piece(data=bytes([byte]))))
            attack.done["bytes"] += 1
            await trio.sleep(1)

    await from_each(attack, one, 1)


async def pushes(attack: Attack) -> None:
    """Push one large description after another."""
    addresses = [TcpAddress("ip4", f"127.0.{number >> 8}.{number & 255}", 1000).binary for number in range(_PUSHED)]
    said = Identify(protocols=[f"/protocol/{number}" for number in range(_PUSHED)], listen_addrs=addresses)
    pushed = encode_varint_prefixed(said.SerializeToString())

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (_, connection):
            while True:
                stream = await open_negotiated(connection, str(ID_PUSH))
                await stream.send(pushed)
                stream.leave()
                attack.done["pushes"] += 1

    await from_each(attack, one, 1)


def _offer(module: bytes, data: bytes = b"") -> Offer:
    job = Job(manifest=Manifest(module_hash=sha256(module), timeout_seconds=30), stdin=sha256(data))
    return _offer_of(job, module_size=len(module), input_size=len(data))


def _offer_of(job: Job, *, module_size: int, input_size: int = 0) -> Offer:
    nonce = secrets.token_bytes(16)
    return Offer(job=job, digest=job.digest(), nonce=nonce, module_size=module_size, input_size=input_size)


async def _reply(attack: Attack, stream: Stream) -> object:
    body = await FrameReader(stream).receive()
    if body is None:
        raise ConnectionError("the node ended the stream")
    reply = decode_reply(body)
    attack.done[f"{type(reply).__name__} {getattr(reply, 'reason', '')}".strip().lower()] += 1
    return reply
