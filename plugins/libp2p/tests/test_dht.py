"""The discovery ``dht`` beyond its port's conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import pytest
import trio
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.utils import decode_varint_with_size, encode_varint_prefixed
from plasm_libp2p import tending
from plasm_libp2p.addresses import parse
from plasm_libp2p.dht import open_dht
from plasm_libp2p.hooks import DhtOptions
from plasm_libp2p.kademlia import KAD
from plasm_libp2p.lookup import read_peers, record_key

from plasm.ports import CapabilityTopic, DiscoveryError, Found, PeerId, Transport

pytestmark = pytest.mark.anyio
TOPIC = CapabilityTopic("x86_64", "wasmtime")


async def collect(dht: Any, wanted: set[PeerId], seconds: float) -> set[PeerId]:
    """The peers found until `wanted` are all among them, or `seconds` have gone by."""
    send, receive = anyio.create_memory_object_stream[Found](100)
    seen: set[PeerId] = set()
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dht.find, TOPIC, send)
            while not wanted <= seen:
                seen.add((await receive.receive()).peer)
            tasks.cancel_scope.cancel()
    send.close()
    receive.close()
    return seen


class Nodes:
    """Nodes that can be killed one by one."""

    def __init__(self, net: Any, tasks: Any) -> None:
        self._net = net
        self._tasks = tasks
        self.scopes: dict[PeerId, anyio.CancelScope] = {}
        self.dhts: dict[PeerId, Any] = {}

    async def add(self, bootstrap: Any = (), *, advertise: bool = True, **options: Any) -> Any:
        async def run(*, task_status: Any) -> None:
            with anyio.CancelScope() as scope:
                async with self._net.node(bootstrap, **options) as (transport, dht), anyio.create_task_group() as tasks:
                    self.scopes[transport.peer] = scope
                    self.dhts[transport.peer] = dht
                    if advertise:
                        tasks.start_soon(self._advertise, dht, transport)
                    task_status.started(transport)
                    await anyio.sleep_forever()

        return await self._tasks.start(run)

    async def _advertise(self, dht: Any, transport: Any) -> None:
        # A node that is killed says nothing on its way out.
        dht._withdraw = silence
        await dht.advertise(TOPIC, lambda: transport.addresses, {})


def identified(server: Any, peer: Any) -> list[str]:
    """What `server` knows `peer` to speak."""
    identifier = peer.host.get_id()
    return server.book.get_protocols(identifier) if server.book.has_peer(identifier) else []


async def silence(key: bytes, told: Any) -> None:
    """In place of taking a record back."""


@asynccontextmanager
async def nodes(net: Any) -> AsyncIterator[Nodes]:
    async with anyio.create_task_group() as tasks:
        yield Nodes(net, tasks)
        tasks.cancel_scope.cancel()


@pytest.mark.timeout(90)
async def test_of_twenty_nodes_with_six_killed_every_live_provider_is_still_found(net: Any) -> None:
    async with nodes(net) as network:
        first = await network.add()
        others = [await network.add(first.addresses) for _ in range(19)]
        killed = {node.peer for node in others[:6]}
        live = {first.peer, *(node.peer for node in others)} - killed
        for peer in killed:
            network.scopes[peer].cancel()
        async with net.node(first.addresses, ()) as (_, client):
            assert live <= await collect(client, live, 40)


async def test_a_provider_that_announces_itself_a_moment_later_is_found_within_two_seconds(net: Any) -> None:
    async with nodes(net) as network:
        bootstrap = await network.add(advertise=False)
        async with net.node(bootstrap.addresses, ()) as (_, client), anyio.create_task_group() as tasks:
            begin = trio.current_time()

            async def later() -> None:
                await anyio.sleep(0.3)
                await network.add(bootstrap.addresses)

            tasks.start_soon(later)
            with anyio.fail_after(5):
                send, receive = anyio.create_memory_object_stream[Found](10)
                tasks.start_soon(client.find, TOPIC, send)
                await receive.receive()
            assert trio.current_time() - begin < 2
            tasks.cancel_scope.cancel()


async def test_a_bootstrap_peer_that_comes_late_is_joined(net: Any) -> None:
    signer = net.signer()
    async with net.transport(signer=signer) as reserved:
        addresses = tuple(reserved.addresses)
    async with net.node(addresses, ()) as (client, dht):
        assert dht.sources() == ("1 bootstrap peer (0 connected), 0 in the table",)
        await anyio.sleep(0.3)
        listen = (addresses[0].rpartition("/p2p/")[0],)
        async with (
            net.transport(listen, signer=signer) as transport,
            open_dht(net.scope({Transport: transport}), DhtOptions()),
        ):
            await net.eventually(lambda: dht.sources() == ("1 bootstrap peer (1 connected), 1 in the table",))
            assert client.swarm.get_total_connections() == 1


async def test_an_announcement_made_to_nobody_is_repeated_to_whoever_comes(net: Any) -> None:
    async with nodes(net) as network:
        lonely = await network.add()
        async with net.node(lonely.addresses, ()) as (_, client):
            assert await collect(client, {lonely.peer}, 5) == {lonely.peer}


async def test_provider_records_are_renewed_and_lapse_unless_they_are(net: Any) -> None:
    async with nodes(net) as network:
        keeper = await network.add(advertise=False, record_seconds=1.5)
        renewing = await network.add(keeper.addresses, provide_seconds=0.5)
        lapsing = await network.add(keeper.addresses, provide_seconds=3600.0)
        records = network.dhts[keeper.peer]._records

        def kept() -> set[str]:
            return {record.peer.to_base58() for record in records.providers(record_key(TOPIC.key))}

        await net.eventually(lambda: kept() == {renewing.peer, lapsing.peer})
        await net.eventually(lambda: kept() == {renewing.peer})
        await anyio.sleep(1.6)
        assert kept() == {renewing.peer}


async def test_more_providers_than_py_libp2p_keeps_are_kept(net: Any) -> None:
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    from plasm.shares import origin_of

    key = record_key(TOPIC.key)
    async with net.node() as (_, dht):
        for _ in range(300):
            peer = ID.from_pubkey(create_new_key_pair().public_key)
            dht._records.add(key, peer, [parse("/ip4/127.0.0.1/tcp/1")], origin_of("127.0.0.1", str(peer)))
        assert len(dht._records.providers(key)) == 255, "and one for the node itself"
        for number in range(5000):
            dht._records.add(record_key(str(number)), peer, [], origin_of("127.0.0.1", str(peer)))
        assert len(dht._records) <= 64 + 256


async def test_a_provider_that_is_connected_comes_before_those_that_are_not(net: Any) -> None:
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    from plasm.shares import origin_of

    key = record_key(TOPIC.key)
    async with nodes(net) as network:
        bootstrap = await network.add()
        records = network.dhts[bootstrap.peer]._records
        await net.eventually(lambda: records.providers(key))
        for number in range(20):
            peer = ID.from_pubkey(create_new_key_pair().public_key)
            records.add(key, peer, [parse(f"/ip4/127.0.{number}.1/tcp/1")], origin_of(f"127.0.{number}.1", str(peer)))
        for _ in range(3):
            async with net.node(bootstrap.addresses, ()) as (_, client), anyio.create_task_group() as tasks:
                send, receive = anyio.create_memory_object_stream[Found](100)
                tasks.start_soon(client.find, TOPIC, send)
                with anyio.fail_after(10):
                    assert (await receive.receive()).peer == bootstrap.peer
                tasks.cancel_scope.cancel()


async def test_a_peer_that_does_not_serve_this_dht_is_not_kept(net: Any) -> None:
    async with net.node() as (server, dht), net.transport() as stranger, net.node(server.addresses) as (friend, _):
        stranger.host.set_stream_handler("/ipfs/kad/1.0.0", net.echo)
        await stranger.swarm.dial(server.host.get_id(), server.addresses)
        await net.eventually(lambda: dht._table.peer_in_table(friend.host.get_id()))
        await net.eventually(lambda: "/ipfs/kad/1.0.0" in identified(server, stranger))
        assert not dht._table.peer_in_table(stranger.host.get_id())


async def test_a_dead_peer_leaves_the_table(net: Any) -> None:
    async with net.node() as (server, dht):
        async with net.node(server.addresses) as (friend, _):
            await net.eventually(lambda: dht._table.peer_in_table(friend.host.get_id()))
        await net.eventually(lambda: dht._table.size() == 0)


async def test_a_client_enters_no_table(net: Any) -> None:
    async with net.node() as (server, dht), net.node(server.addresses, ()) as (client, _):
        await net.eventually(lambda: identified(server, client))
        assert dht._table.size() == 0


async def test_garbage_on_dht_streams_stops_nothing(net: Any) -> None:
    async with nodes(net) as network, net.transport(()) as vandal:
        server = await network.add()
        for garbage in (b"\xff" * 1000, b"\x05hello", b"\x80" * 20, b"\xff\xff\xff\xff\x0f", b"\x02\x08\x63"):
            for _ in range(5):
                stream = await vandal.open_stream(server.peer, server.addresses, KAD)
                await stream.send(garbage)
                await stream.aclose()
        # These stay open and say nothing.
        for _ in range(8):
            await vandal.open_stream(server.peer, server.addresses, KAD)
        async with net.node(server.addresses, ()) as (_, client):
            assert await collect(client, {server.peer}, 5) == {server.peer}


@asynccontextmanager
async def elsewhere(net: Any) -> AsyncIterator[Any]:
    """A node in a thread of its own, so that its frames arrive together as they do between machines."""
    send, receive = trio.open_memory_channel[Any](1)
    here = trio.lowlevel.current_trio_token()

    async def serve() -> None:
        over = trio.Event()
        stop = partial(trio.lowlevel.current_trio_token().run_sync_soon, over.set)
        async with net.node() as (transport, _):
            here.run_sync_soon(send.send_nowait, (transport.host.get_id(), transport.addresses, stop))
            await over.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, trio.run, serve)
        with trio.fail_after(10):
            peer, addresses, stop = await receive.receive()
        try:
            yield peer, addresses
        finally:
            stop()


async def test_of_a_hundred_questions_one_after_another_each_is_answered(net: Any) -> None:
    question = Message(type=Message.MessageType.FIND_NODE, key=record_key(TOPIC.key))
    async with elsewhere(net) as (peer, addresses), net.node(addresses, ()) as (_, dht):
        for _ in range(100):
            answer = await dht._lookup.ask(peer, addresses, question)
            assert answer.type == Message.MessageType.FIND_NODE


async def test_a_question_that_was_ended_in_order_is_answered_to_the_end(net: Any) -> None:
    question = Message(type=Message.MessageType.FIND_NODE, key=record_key(TOPIC.key))
    async with net.node() as (server, _), net.transport(()) as client:
        for _ in range(10):
            stream = await client.open_stream(server.peer, server.addresses, KAD)
            await stream.send(encode_varint_prefixed(question.SerializeToString()))
            await stream.send_eof()
            answer = b""
            with anyio.fail_after(5):
                while piece := await stream.receive():
                    answer += piece
            length, prefix = decode_varint_with_size(answer)
            assert len(answer) == prefix + length > prefix
            await stream.aclose()


class Unidentified:
    """A node that keeps to itself who it is, the first few times."""

    def __init__(self, transport: Any, times: float, *, silent: bool) -> None:
        self.asked: list[float] = []
        self._times = times
        self._silent = silent
        self._identify = transport.host._answer_identify
        transport.host.set_stream_handler(IDENTIFY, self._answer)

    async def _answer(self, stream: Any) -> None:
        self.asked.append(trio.current_time())
        if len(self.asked) > self._times:
            await self._identify(stream)
        elif self._silent:
            await trio.sleep_forever()
        else:
            await stream.reset()


@pytest.mark.parametrize("silent", [False, True], ids=["reset", "silent"])
async def test_a_bootstrap_peer_whose_first_identification_failed_is_asked_again(
    net: Any, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr(tending, "IDENTIFY_SECONDS", 0.2)
    async with net.node() as (server, _):
        unidentified = Unidentified(server, 1, silent=silent)
        async with net.node(server.addresses, ()) as (client, dht):
            await net.eventually(lambda: dht.sources() == ("1 bootstrap peer (1 connected), 1 in the table",))
            assert len(unidentified.asked) == 2
            assert client.swarm.get_total_connections() == 1


async def test_a_bootstrap_peer_that_never_identifies_itself_is_asked_less_and_less(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "IDENTIFY_SECONDS", 0.1)
    async with net.node() as (server, _):
        unidentified = Unidentified(server, float("inf"), silent=False)
        async with net.node(server.addresses, ()) as (_, dht):
            await net.eventually(lambda: len(unidentified.asked) == 5)
            _, *pauses = (later - former for former, later in pairwise(unidentified.asked))
            for pause, least in zip(pauses, (0.2, 0.4, 0.8), strict=True):
                assert pause > least / 2
            assert dht.sources() == ("1 bootstrap peer (1 connected), 0 in the table",)


async def test_an_answer_of_nonsense_is_read_as_nothing() -> None:
    answer = Message()
    for identifier in (b"", b"\xff" * 1000, b"\x00$\x08\x01\x12 " + b"k" * 32):
        entry = answer.closerPeers.add()
        entry.id = identifier
        entry.addrs.extend([b"", b"\xff" * 9, b"\x04\x7f\x00\x00\x01\x06\x10\xe1", b"\x04" * 100_000])
    [(peer, addresses)] = read_peers(answer.closerPeers)
    assert addresses == (f"/ip4/127.0.0.1/tcp/4321/p2p/{peer}",)


@pytest.mark.parametrize("address", ["nonsense", "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/p2p/nobody"])
async def test_a_malformed_bootstrap_address_is_an_error(net: Any, address: str) -> None:
    async with net.transport(()) as transport:
        with pytest.raises(DiscoveryError):
            async with open_dht(net.scope({Transport: transport}, bootstrap=(address,)), DhtOptions()):
                pass


async def test_closing_leaves_the_transport_as_it_was(net: Any) -> None:
    async with net.echoing() as transport, net.transport(()) as client:
        before = set(transport.host.get_mux().get_protocols())
        for _ in range(2):
            async with open_dht(net.scope({Transport: transport}), DhtOptions()):
                assert KAD in transport.host.get_mux().get_protocols()
            assert set(transport.host.get_mux().get_protocols()) == before
        await net.answers(client, transport)


async def test_a_peer_that_closes_every_connection_is_dialed_ever_later(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "FIRST_RETRY_SECONDS", 0.2)
    answered = anyio.Event()

    async def answers(stream: Any) -> None:
        await net.echo(stream)
        answered.set()

    async with net.node() as (server, dht), net.transport() as visitor, anyio.create_task_group() as tasks:
        await tasks.start(visitor.serve, KAD, answers)
        peer = visitor.host.get_id()
        await visitor.swarm.dial(server.host.get_id(), server.addresses)
        await net.eventually(lambda: dht._table.peer_in_table(peer))
        # Whoever comes into the table is asked for neighbours, once.
        await answered.wait()
        dialed: list[float] = []
        dial = server.swarm.dial

        async def counted(wanted: Any, addresses: Any) -> Any:
            if wanted == peer and server.swarm.live(peer) is None:
                dialed.append(trio.current_time())
                connection = await dial(wanted, addresses)
                await connection.close()
                return connection
            return await dial(wanted, addresses)

        server.swarm.dial = counted
        server.swarm.live(peer).shut()
        await net.eventually(lambda: len(dialed) == 5, 10)
        pauses = [later - former for former, later in pairwise(dialed)]
        for pause, least in zip(pauses, (0.2, 0.4, 0.8, 1.6), strict=True):
            assert pause >= least
        tasks.cancel_scope.cancel()
