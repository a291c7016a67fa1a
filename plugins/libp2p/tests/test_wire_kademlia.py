"""The DHT as any other implementation meets it: messages of the specification on one stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.utils import decode_varint_with_size, encode_varint_prefixed
from multiaddr import Multiaddr
from plasm_libp2p import kademlia
from plasm_libp2p.kademlia import KAD
from plasm_libp2p.lookup import record_key
from plasm_libp2p.streams import Libp2pStream

from plasm.ports import CapabilityTopic, Stream, StreamBroken

pytestmark = pytest.mark.anyio
TOPIC = CapabilityTopic("x86_64", "wasmtime")
KEY, OTHER, NOBODYS = (record_key(name) for name in (TOPIC.key, "/phase/other", "/phase/nobody"))
KINDS = Message.MessageType
TCP = "/ip4/127.0.0.1/tcp/4001"


class Asker:
    """A foreign client that keeps one stream to a server, as go-libp2p's does."""

    def __init__(self, client: Any, stream: Stream) -> None:
        self.peer = client.host.get_id()
        self.stream = stream
        self._received = b""

    async def send(self, message: Message) -> None:
        await self.stream.send(encode_varint_prefixed(message.SerializeToString()))

    async def ask(self, message: Message) -> Message:
        await self.send(message)
        with anyio.fail_after(5):
            while True:
                size, prefix = decode_varint_with_size(self._received) if self._received else (0, 0)
                if prefix and len(self._received) >= prefix + size:
                    break
                piece = await self.stream.receive()
                assert piece, "the answer is whole"
                self._received += piece
        answer = Message()
        answer.ParseFromString(self._received[prefix : prefix + size])
        self._received = self._received[prefix + size :]
        return answer

    async def provide(self, key: bytes, *addresses: str, peer: ID | None = None) -> None:
        message = Message(type=KINDS.ADD_PROVIDER, key=key)
        entry = message.providerPeers.add()
        entry.id = (peer or self.peer).to_bytes()
        entry.addrs.extend(Multiaddr(address).to_bytes() for address in addresses)
        await self.send(message)

    async def providers(self, key: bytes) -> dict[ID, list[str]]:
        answer = await self.ask(Message(type=KINDS.GET_PROVIDERS, key=key))
        assert answer.type == KINDS.GET_PROVIDERS
        return {ID(each.id): [str(Multiaddr(raw)) for raw in each.addrs] for each in answer.providerPeers}


@asynccontextmanager
async def asking(net: Any, server: Any) -> AsyncIterator[Asker]:
    async with net.transport(()) as client:
        yield Asker(client, await client.open_stream(server.peer, server.addresses, KAD))


async def test_a_client_that_provides_and_asks_on_one_stream_reads_the_right_answers(net: Any) -> None:
    async with net.node() as (server, _), asking(net, server) as other, asking(net, server) as asker:
        await other.provide(KEY, TCP)
        assert set(await other.providers(KEY)) == {other.peer}
        assert set(await asker.providers(KEY)) == {other.peer}
        await asker.provide(OTHER, TCP)
        assert set(await asker.providers(KEY)) == {other.peer}
        assert set(await asker.providers(OTHER)) == {asker.peer}
        assert set(await asker.providers(NOBODYS)) == set()
        assert set(await asker.providers(KEY)) == {other.peer}


async def test_nobody_announces_others(net: Any) -> None:
    async with net.node() as (server, _), asking(net, server) as asker:
        await asker.provide(KEY, TCP, peer=server.host.get_id())
        assert await asker.providers(KEY) == {}


async def test_a_provider_is_kept_at_the_addresses_that_can_be_dialed(net: Any) -> None:
    others = [f"/ip4/127.0.0.1/udp/{port}/quic-v1" for port in range(1, 41)]
    async with net.node() as (server, _), asking(net, server) as asker:
        await asker.provide(KEY, *others, "/dns4/leak.example/tcp/1", TCP)
        assert await asker.providers(KEY) == {asker.peer: [TCP]}


async def test_whoever_is_asked_for_by_name_is_named(net: Any) -> None:
    async with net.node() as (server, _), asking(net, server) as asker:
        own = server.host.get_id()
        answer = await asker.ask(Message(type=KINDS.FIND_NODE, key=own.to_bytes()))
        assert [each.id for each in answer.closerPeers] == [own.to_bytes()]
        assert [str(Multiaddr(raw)) for raw in answer.closerPeers[0].addrs] == [
            server.addresses[0].partition("/p2p")[0]
        ]


async def test_a_value_is_never_had_and_never_taken(net: Any) -> None:
    async with net.node() as (server, _), asking(net, server) as asker:
        answer = await asker.ask(Message(type=KINDS.GET_VALUE, key=b"/pk/x"))
        assert answer.type == KINDS.GET_VALUE
        assert not answer.HasField("record")
        await asker.send(Message(type=KINDS.PUT_VALUE, key=b"/pk/x"))
        with anyio.fail_after(5), pytest.raises(StreamBroken):
            await asker.stream.receive()


async def test_what_makes_no_sense_writes_nothing_into_the_log(net: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with net.node() as (server, _), net.transport(()) as client:
        for garbage in (b"\xff" * 1000, b"\x05hello", b"\x80" * 20, b"\x02\x08\x63", b"\x02\x08\x04"):
            stream = await client.open_stream(server.peer, server.addresses, KAD)
            await stream.send(garbage)
            with anyio.fail_after(5), pytest.raises(StreamBroken):
                await stream.receive()
        assert caplog.records == []


async def test_a_ping_is_answered(net: Any) -> None:
    async with net.node() as (server, _), asking(net, server) as asker:
        assert (await asker.ask(Message(type=KINDS.PING))).type == KINDS.PING


async def test_a_stream_on_which_nothing_is_asked_any_more_is_closed_in_order(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kademlia, "IDLE_SECONDS", 0.2)
    async with net.node() as (server, _), asking(net, server) as asker:
        await asker.providers(KEY)
        with anyio.fail_after(5):
            assert await asker.stream.receive() == b""


@pytest.mark.parametrize("ending", ["aclose", "reset", "nothing"])
async def test_whoever_was_sent_a_record_was_told_whatever_becomes_of_the_stream(net: Any, ending: str) -> None:
    """go and rust close the stream behind it in order, js resets it although it kept the record."""
    taken: list[bytes] = []
    asked = anyio.Event()

    async def keeps(stream: Stream) -> None:
        received = b""
        while not received or len(received) < sum(decode_varint_with_size(received)):
            received += await stream.receive()
        size, prefix = decode_varint_with_size(received)
        message = Message()
        message.ParseFromString(received[prefix : prefix + size])
        if message.type == KINDS.ADD_PROVIDER:
            taken.append(message.key)
            if ending == "nothing":
                await anyio.sleep_forever()
            await getattr(stream, ending)()
            return
        asked.set()
        await stream.send(encode_varint_prefixed(Message(type=message.type, key=message.key).SerializeToString()))

    async with net.transport() as foreign, anyio.create_task_group() as tasks:
        await tasks.start(foreign.serve, KAD, keeps)
        async with net.node(foreign.addresses) as (_, dht):
            await net.eventually(lambda: dht._table.size() == 1)
            begin = trio.current_time()
            told = await dht._lookup.announce(KEY, [], [foreign.host.get_id()])
            assert told == {foreign.host.get_id()}
            assert trio.current_time() - begin < 2, "nobody waits for an answer that does not come"
            await net.eventually(lambda: taken == [KEY])
        tasks.cancel_scope.cancel()


async def test_a_server_that_serves_nothing_else_can_be_a_bootstrap_peer(net: Any) -> None:
    async def answers(stream: Stream) -> None:
        await stream.receive()

    async with net.transport() as foreign, anyio.create_task_group() as tasks:
        await tasks.start(foreign.serve, KAD, answers)
        async with net.node(foreign.addresses) as (_, dht):
            await net.eventually(lambda: dht.sources() == ("1 bootstrap peer (1 connected), 1 in the table",))
        tasks.cancel_scope.cancel()


async def test_questions_beyond_the_bound_cost_the_greediest_a_stream(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kademlia, "MOST_STREAMS", 8)
    async with net.node() as (server, _), net.transport(()) as greedy, asking(net, server) as asker:
        await asker.providers(KEY)
        streams = [await greedy.open_stream(server.peer, server.addresses, KAD) for _ in range(16)]
        assert all(isinstance(stream, Libp2pStream) for stream in streams)
        await net.eventually(lambda: sum(stream._muxed.broken for stream in streams) == 9)
        assert await asker.providers(KEY) == {}
