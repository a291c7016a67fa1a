"""What the attackers do, one function a kind. Each goes on until it is cancelled, and counts what it did."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import secrets
import socket
import struct
from collections.abc import Sequence

import trio
import wasmtime
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from plasm_libp2p.addresses import parse
from plasm_libp2p.kademlia import KAD
from plasm_libp2p.lookup import record_key
from plasm_libp2p.transport import Libp2p

from plasm.host import architecture
from plasm.identity import peer_of_address
from plasm.jobs.framing import FrameReader
from plasm.jobs.manifest import InputFile, Job, Manifest, job_id, sha256
from plasm.jobs.messages import (
    PROTOCOL,
    Accepted,
    Cancel,
    Describe,
    Failed,
    Fetch,
    Offer,
    Progress,
    Rejected,
    decode_reply,
    encode,
    send_pieces,
)
from plasm.ports import CapabilityTopic, Stream
from tests.soak.siege.attack import FAILURES, PAUSE_SECONDS, Attack, Kind, connected, from_each
from tests.soak.siege.bombs import bomb
from tests.soak.siege.offers import cancels, pushes, trickle, unfinished
from tests.soak.siege.strangers import ADDRESSES, address_of, connect, stranger

PING = "/ipfs/ping/1.0.0"
_FRAME = struct.Struct("!BBHII")
"""Version, type, flags, stream and length (the yamux specification's header)."""
_CONNECTIONS_OF_ONE = 13
"""13 of each address are 520, more than a node takes in all."""
_SILENT_PER_SECOND = 600
_SILENT_HELD = 600
_BATCH = 2000
_ASK_SECONDS = 5.0
_JOB_SECONDS = 300.0
_TOPIC = record_key(CapabilityTopic(arch=architecture(), runtime="wasmtime").key)
_WRITES_16_MIB = """(module
 (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
 (memory (export "memory") 258) (data (i32.const 0) "\\10\\00\\00\\00\\00\\00\\ff\\00")
 (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""


async def connections(attack: Attack) -> None:
    """Take every connection that the node has, and keep each with 32 bytes of ping now and then."""
    await from_each(attack, _keep_pinging, _CONNECTIONS_OF_ONE)


async def _keep_pinging(attack: Attack, source: str) -> None:
    async with connected(attack, source) as (transport, connection):
        stream = await transport.negotiate(connection, PING)
        attack.done["connections"] += 1
        while not connection.is_closed:
            await stream.send(os.urandom(32))
            await trio.sleep(8)


async def handshakes(attack: Attack) -> None:
    """Connect and say nothing, 600 times a second, so that nobody else has a place to prove who they are."""
    address = parse(attack.node)
    held: list[socket.socket] = []
    sources = itertools.cycle(range(ADDRESSES))
    try:
        while True:
            for _ in range(_SILENT_PER_SECOND // 50):
                one = socket.socket()
                one.setblocking(False)
                held.append(one)
                one.bind((address_of(next(sources)), 0))
                one.connect_ex((address.host, address.port))
                attack.done["silent connections"] += 1
            while len(held) > _SILENT_HELD:
                held.pop(0).close()
            await trio.sleep(0.02)
    finally:
        for one in held:
            one.close()


async def frames(attack: Attack) -> None:
    """Flood proven connections with frames that carry nothing."""
    await from_each(attack, _flood, 1)


async def _flood(attack: Attack, source: str) -> None:
    async with connected(attack, source) as (_, connection):
        for batch, count in itertools.cycle(_batches()):
            connection.session.send_nowait(batch)
            attack.done["frames"] += count
            await connection.uncongested()
            if connection.is_closed:
                attack.done["cut off"] += 1
                await trio.sleep(PAUSE_SECONDS)
                return


async def fragments(attack: Attack) -> None:
    """Flood proven connections with messages of the encrypted channel that hold nothing, or one byte."""

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (_, connection):
            session = connection.session
            for content in itertools.cycle([b""] * 11 + [_FRAME.pack(0, 2, 1, 0, 1)]):
                parts = [content[at : at + 1] for at in range(len(content))] or [b""] * _BATCH
                session.wire.send_nowait(b"".join(map(session._seal, parts)))
                attack.done["fragments"] += len(parts)
                await connection.uncongested()
                if connection.is_closed:
                    attack.done["cut off"] += 1
                    await trio.sleep(PAUSE_SECONDS)
                    return

    await from_each(attack, one, 1)


def _batches() -> list[tuple[bytes, int]]:
    """Pings, streams that are begun and reset, credit for nothing, single bytes; and how many frames each has."""
    numbers = range(100001, 100001 + 2 * _BATCH, 2)
    reset = b"".join(_FRAME.pack(0, 1, 1, n, 0) + _FRAME.pack(0, 1, 8, n, 0) for n in numbers)
    tiny = b"".join(_FRAME.pack(0, 1, 1, n, 0) + _FRAME.pack(0, 0, 0, n, 1) + b"\x13" for n in numbers)
    return [
        (b"".join(_FRAME.pack(0, 2, 1, 0, n) for n in range(_BATCH)), _BATCH),
        (reset, 2 * _BATCH),
        (_FRAME.pack(0, 1, 0, 999_999, 1) * _BATCH, _BATCH),
        (tiny, 2 * _BATCH),
    ]


async def silence(attack: Attack) -> None:
    """Be found as nodes, take a stream of the job protocol, and say nothing on it."""

    async def answer(stream: Stream) -> None:
        attack.done["asked in vain"] += 1
        while await stream.receive(65536):
            pass

    async def one(number: int) -> None:
        source = address_of(number)
        while True:
            try:
                async with stranger((f"/ip4/{source}/tcp/0",)) as transport, trio.open_nursery() as serving:
                    await serving.start(lambda task_status: transport.serve(PROTOCOL, answer, task_status=task_status))
                    while True:
                        await _announce(attack, transport, source, transport.addresses)
                        await trio.sleep(10)
            except* FAILURES as errors:
                await attack.turned_away(errors.exceptions[0])

    async with trio.open_nursery() as nursery:
        for number in range(ADDRESSES):
            nursery.start_soon(one, number)


async def records(attack: Attack) -> None:
    """Announce one identity after another as providers of what everybody looks for; none of them is there."""

    async def announce(attack: Attack, source: str) -> None:
        async with stranger() as transport:
            await _announce(attack, transport, source, (f"/ip4/{source}/tcp/{random.randrange(1024, 65536)}",))

    await from_each(attack, announce, 1)


async def bombs(attack: Attack) -> None:
    """Have the node compile small modules that take long to compile, each of them new."""
    numbers = itertools.count(secrets.randbelow(1 << 30))

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (transport, _):
            while True:
                await _job(attack, transport, bomb(next(numbers)), timeout_seconds=1)

    await from_each(attack, one, 1)


async def outputs(attack: Attack) -> None:
    """Have jobs leave 16 MiB each, and fetch none of it."""
    module = bytes(wasmtime.wat2wasm(_WRITES_16_MIB))

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (transport, _):
            while True:
                await _job(attack, transport, module, timeout_seconds=5)

    await from_each(attack, one, 1)


async def noise(attack: Attack) -> None:
    """Break the job protocol on one stream after another, so that somebody has something to say about it."""
    lines = [
        b"\xff" * 9,
        b"\x03abc",
        b"\x05\x81\xa4type",
        encode(Progress(state="running", ahead=0)),
        b"\x80\x80\x80\x80\x01",
        b"\x00",
    ]

    async def one(attack: Attack, source: str) -> None:
        peer = peer_of_address(attack.node)
        async with connected(attack, source) as (transport, _):
            for line in itertools.cycle(lines):
                stream = await transport.open_stream(peer, [], PROTOCOL)
                with contextlib.suppress(*FAILURES):
                    await stream.send(line)
                await stream.reset()
                attack.done["streams of nonsense"] += 1

    await from_each(attack, one, 1)


async def requests(attack: Attack) -> None:
    """Ask on streams that are kept for what costs little to ask: hundreds of requests in one piece, again and again."""
    peer = peer_of_address(attack.node)

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (transport, _), trio.open_nursery() as nursery:
            for batch, count in _requests():
                nursery.start_soon(ask, transport, batch, count)

    async def ask(transport: Libp2p, batch: bytes, count: int) -> None:
        stream = await transport.open_stream(peer, [], PROTOCOL)

        async def listen() -> None:
            while await stream.receive(65536):
                pass
            raise ConnectionError("the node ended the stream")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            while True:
                await stream.send(batch)
                attack.done["requests"] += count

    await from_each(attack, one, 1)


def _requests() -> list[tuple[bytes, int]]:
    """Descriptions, jobs of nobody, offers that ask for too much, and one whose paths are deep; with how many each."""
    many = Job(manifest=Manifest(module_hash=sha256(b"m"), memory_mb=32768))
    rejected = Offer(job=many, digest=many.digest(), nonce=bytes(16), module_size=1)
    files = tuple(
        InputFile(path=f"{number:04d}/" + "a/" * 505 + "a", digest=sha256(b""), size=0) for number in range(500)
    )
    deep = Job(manifest=Manifest(module_hash=sha256(b"m")), inputs=files)
    return [
        (encode(Describe()) * _BATCH, _BATCH),
        (b"".join(encode(Fetch(job_id=secrets.token_hex(16))) for _ in range(_BATCH)), _BATCH),
        (b"".join(encode(Cancel(job_id=secrets.token_hex(16))) for _ in range(_BATCH)), _BATCH),
        (encode(rejected) * (_BATCH // 4), _BATCH // 4),
        (encode(Offer(job=deep, digest=sha256(b""), nonce=bytes(16), module_size=1)), 1),
    ]


async def results(attack: Attack) -> None:
    """Ask for a result of 16 MiB again and again, a few bytes each time, and read a little of what comes."""
    module = bytes(wasmtime.wat2wasm(_WRITES_16_MIB))
    job = Job(manifest=Manifest(module_hash=sha256(module), timeout_seconds=5))
    offer = Offer(job=job, digest=job.digest(), nonce=secrets.token_bytes(16), module_size=len(module))
    peer = peer_of_address(attack.node)

    async def one(attack: Attack, source: str) -> None:
        async with connected(attack, source) as (transport, _):
            await _job(attack, transport, module, timeout_seconds=5, offer=offer)
            again = encode(Fetch(job_id=job_id(transport.peer, offer.nonce, offer.job.digest())))
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(ask, transport, again)

    async def ask(transport: Libp2p, again: bytes) -> None:
        stream = await transport.open_stream(peer, [], PROTOCOL)
        await stream.send(again * 16)
        while part := await stream.receive(65536):
            attack.done["bytes of results"] += len(part)
            await trio.sleep(0.01)
        raise ConnectionError("the node ended the stream")

    await from_each(attack, one, 1)


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        connections,
        handshakes,
        frames,
        fragments,
        silence,
        records,
        bombs,
        outputs,
        noise,
        requests,
        results,
        pushes,
        cancels,
        unfinished,
        trickle,
    )
}


async def everything(attack: Attack) -> None:
    """All kinds at once."""
    async with trio.open_nursery() as nursery:
        for kind in KINDS.values():
            nursery.start_soon(kind, attack)


async def _announce(attack: Attack, transport: Libp2p, source: str, addresses: Sequence[str]) -> None:
    message = Message(type=Message.MessageType.ADD_PROVIDER, key=_TOPIC)
    named = message.providerPeers.add()
    named.id = transport.host.get_id().to_bytes()
    named.addrs.extend(Multiaddr(address).to_bytes() for address in addresses)
    connection = transport.swarm.live(ID.from_string(peer_of_address(attack.node))) or await connect(
        transport, attack.node, source
    )
    stream = await transport.negotiate(connection, KAD)
    try:
        with trio.fail_after(_ASK_SECONDS):
            await stream.send(encode_varint_prefixed(message.SerializeToString()))
        attack.done["announcements"] += 1
    finally:
        stream.leave()


async def _job(
    attack: Attack, transport: Libp2p, module: bytes, timeout_seconds: int, offer: Offer | None = None
) -> None:
    """Offer a job, bring its module if the node wants it, and leave when it has ended."""
    job = Job(manifest=Manifest(module_hash=sha256(module), timeout_seconds=timeout_seconds))
    if offer is None:
        offer = Offer(job=job, digest=job.digest(), nonce=secrets.token_bytes(16), module_size=len(module))
    stream = await transport.open_stream(peer_of_address(attack.node), [], PROTOCOL)
    try:
        with trio.fail_after(_JOB_SECONDS):
            reader = FrameReader(stream)
            await stream.send(encode(offer))
            attack.done["jobs offered"] += 1
            while body := await reader.receive():
                match reply := decode_reply(body):
                    case Accepted() if reply.needs:
                        await send_pieces(stream, module)
                    case Rejected():
                        attack.done[f"rejected: {reply.reason}"] += 1
                        await trio.sleep(PAUSE_SECONDS)
                        return
                    case Failed():
                        attack.done[f"failed: {reply.reason}"] += 1
                        return
                    case Accepted() | Progress():
                        pass
                    case _:
                        attack.done["jobs done"] += 1
                        return
    finally:
        await stream.reset()
