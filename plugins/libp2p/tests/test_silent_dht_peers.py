"""Lookups among peers of the DHT that take every question and answer none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, cast

import anyio
import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from plasm_libp2p.addresses import parse
from plasm_libp2p.kademlia import CLOSEST, KAD, PhaseTable
from plasm_libp2p.lookup import ASK_SECONDS, Lookup, LookupPatience, distance, record_key

from plasm.ports import CapabilityTopic, PeerId
from plasm.shares import origin_of

pytestmark = pytest.mark.anyio
TOPIC = CapabilityTopic("x86_64", "wasmtime")
KEY = record_key(TOPIC.key)
AT_ONCE = LookupPatience(place_seconds=0.0)
"""Whoever does not answer at once has given its place away."""


class FakeTable:
    """A table of the peers that it is given."""

    def __init__(self, peers: Sequence[ID]) -> None:
        self._peers = list(peers)

    def find_local_closest_peers(self, key: bytes, count: int) -> list[ID]:
        return self._peers[:count]

    def remove_peer(self, peer: ID) -> bool:
        return False


class FakeLookup(Lookup):
    """A lookup among peers that answer with what `answers` has for them, or never."""

    def __init__(self, transport: Any, table: Any, answers: dict[ID, Message], patience: LookupPatience) -> None:
        super().__init__(transport, table, patience)
        self._answers = answers
        self.asked: list[ID] = []
        self.noticed: Callable[[], None] = lambda: None

    def known_addresses(self, peer: ID) -> list[str]:
        return [f"/ip4/192.0.2.1/tcp/1/p2p/{peer}"]

    async def ask(self, peer: ID, addresses: Sequence[str], message: Message) -> Message:
        self.asked.append(peer)
        self.noticed()
        if peer not in self._answers:
            await trio.sleep_forever()
        return self._answers[peer]


def peers_by_distance(count: int) -> list[ID]:
    """The one that is closest to the key first."""
    peers = [ID.from_pubkey(create_new_key_pair().public_key) for _ in range(count)]
    return sorted(peers, key=lambda peer: distance(peer, KEY))


def naming(peers: Sequence[ID], host: str) -> Message:
    """An answer that has `peers` at `host` as those closer to the key."""
    answer = Message(type=Message.MessageType.GET_PROVIDERS)
    for peer in peers:
        answer.closerPeers.add(id=peer.to_bytes(), addrs=[parse(f"/ip4/{host}/tcp/1").binary])
    return answer


async def asked_until(lookup: FakeLookup, enough: Callable[[list[ID]], bool]) -> list[ID]:
    """Who was asked when `enough` held of them."""
    with anyio.CancelScope() as scope, anyio.fail_after(10):
        lookup.noticed = lambda: scope.cancel() if enough(lookup.asked) else None
        await lookup.providers(KEY, lambda peer, addresses: None)
    return lookup.asked


async def test_peers_that_say_nothing_give_their_places_to_the_next(net: Any) -> None:
    *silent, honest = peers_by_distance(CLOSEST)
    async with net.transport() as transport:
        lookup = FakeLookup(transport, FakeTable([*silent, honest]), {honest: Message()}, AT_ONCE)
        assert honest in await asked_until(lookup, lambda asked: honest in asked)


async def test_silent_peers_that_are_closest_keep_no_other_from_being_asked(net: Any) -> None:
    stranger, *silent, honest = peers_by_distance(2 * CLOSEST)
    async with net.transport() as transport:
        answers = {stranger: naming([*silent, honest], "192.0.2.1"), honest: Message()}
        lookup = FakeLookup(transport, FakeTable([stranger]), answers, AT_ONCE)
        assert honest in await asked_until(lookup, lambda asked: honest in asked)


async def test_networks_whose_peers_said_nothing_come_last(net: Any) -> None:
    stranger, *silent, honest = peers_by_distance(2 + 3 * CLOSEST)
    crowd, other = naming(silent, "192.0.2.1"), naming([honest], "198.51.100.1")
    crowd.closerPeers.extend(other.closerPeers)
    async with net.transport() as transport:
        lookup = FakeLookup(transport, FakeTable([stranger]), {stranger: crowd, honest: Message()}, AT_ONCE)
        asked = await asked_until(lookup, lambda asked: honest in asked)
    assert asked[: asked.index(honest)] == [stranger, silent[0]]


async def test_no_more_silent_peers_are_waited_for_than_that(net: Any) -> None:
    peers = peers_by_distance(CLOSEST)
    patience = LookupPatience(place_seconds=0.0, most_waited_for=5)
    async with net.transport() as transport, anyio.create_task_group() as tasks:
        lookup = FakeLookup(transport, FakeTable(peers), {}, patience)
        tasks.start_soon(lookup.providers, KEY, lambda peer, addresses: None)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert lookup.asked == peers[:5]


async def test_peers_that_still_have_their_places_are_as_many_as_that(net: Any) -> None:
    peers = peers_by_distance(CLOSEST)
    async with net.transport() as transport, anyio.create_task_group() as tasks:
        lookup = FakeLookup(transport, FakeTable(peers), {}, LookupPatience(at_once=3, place_seconds=3600.0))
        tasks.start_soon(lookup.providers, KEY, lambda peer, addresses: None)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert lookup.asked == peers[:3]


async def test_a_provider_is_found_behind_a_server_that_takes_questions_and_is_silent(net: Any) -> None:
    questions = 0

    async def take(stream: Any) -> None:
        nonlocal questions
        questions += bool(await stream.receive())
        await anyio.sleep_forever()

    async with (
        net.node() as (server, dht),
        net.transport() as stranger,
        net.transport(()) as client,
        anyio.create_task_group() as tasks,
    ):
        own, silent = server.host.get_id(), stranger.host.get_id()
        key = next(key for key in map(record_key, map(str, count())) if distance(silent, key) < distance(own, key))
        dht._records.add(key, own, [parse(server.addresses[0])], origin_of(None, str(own)))
        await tasks.start(stranger.serve, KAD, take)
        for transport in (stranger, server):
            await client.swarm.dial(transport.host.get_id(), transport.addresses)
        lookup = Lookup(client, cast(PhaseTable, FakeTable([silent, own])), LookupPatience(at_once=1))
        found: list[PeerId] = []

        def provider(peer: PeerId, addresses: tuple[str, ...]) -> None:
            found.append(peer)
            tasks.cancel_scope.cancel()

        with anyio.fail_after(ASK_SECONDS - 1):
            await lookup.providers(key, provider)
    assert found == [server.peer]
    assert questions == 1
