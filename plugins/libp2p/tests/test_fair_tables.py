"""What a node remembers is bounded, and what one stranger says costs nobody else their place."""

from __future__ import annotations

import hashlib
from typing import Any

import anyio
import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr
from plasm_libp2p import records
from plasm_libp2p.lookup import Provider, record_key
from plasm_libp2p.peers import PeerBook
from plasm_libp2p.records import BoundedRecords

from plasm.ports import CapabilityTopic, Found, PeerId

OWN = create_new_key_pair(b"o" * 32)
OWN_ID = ID.from_pubkey(OWN.public_key)
ADDRESS = Multiaddr("/ip4/127.0.0.1/tcp/4001")


def stranger(number: int) -> ID:
    """An identity that nobody has to make a key for."""
    return ID(b"\x00\x24\x08\x01\x12\x20" + number.to_bytes(32, "big"))


def meet(book: PeerBook, count: int) -> None:
    """`count` strangers come, say who they are, and leave."""
    for number in range(count):
        book.add_addrs(stranger(number), [ADDRESS])
        book.set_protocols(stranger(number), ["/phase/echo/1"])


def test_a_node_that_met_a_thousand_peers_still_knows_its_own_key() -> None:
    book = PeerBook(OWN_ID)
    book.add_key_pair(OWN_ID, OWN)
    meet(book, book.max_peers + 1)
    assert book.pubkey(OWN_ID).serialize() == OWN.public_key.serialize()
    assert book.privkey(OWN_ID).serialize() == OWN.private_key.serialize()


def test_a_peer_that_is_connected_is_remembered_whoever_else_comes() -> None:
    book = PeerBook(OWN_ID)
    friend, acquaintance = stranger(10**6), stranger(10**6 + 1)
    book.is_connected = lambda peer: peer == friend
    for peer in (friend, acquaintance):
        book.set_protocols(peer, ["/phase/echo/1"])
    meet(book, book.max_peers + 1)
    assert book.get_protocols(friend) == ["/phase/echo/1"]
    assert not book.has_peer(acquaintance)


def test_the_peers_that_were_heard_of_longest_ago_are_forgotten() -> None:
    book = PeerBook(OWN_ID)
    meet(book, book.max_peers)
    book.add_addrs(stranger(0), [ADDRESS])
    book.set_protocols(stranger(10**6), [])
    assert len(book.peer_ids()) == book.max_peers
    assert book.has_peer(stranger(0))
    assert book.has_peer(stranger(10**6))
    assert not book.has_peer(stranger(1))


def test_peers_without_addresses_are_bounded_too() -> None:
    book = PeerBook(OWN_ID)
    for number in range(book.max_peers + 1):
        book.set_protocols(stranger(number), [])
    assert len(book.peer_ids()) == book.max_peers


@pytest.mark.anyio
async def test_a_transport_that_met_a_thousand_peers_still_says_who_it_is(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as friend, net.transport(()) as newcomer:
        await net.answers(friend, server)
        await net.eventually(lambda: server.book.has_peer(friend.host.get_id()))
        meet(server.book, server.book.max_peers + 1)
        assert server.book.has_peer(friend.host.get_id())
        assert ID.from_pubkey(server.host.get_public_key()) == server.host.get_id()
        await net.answers(newcomer, server)
        await net.eventually(lambda: newcomer.book.has_peer(server.host.get_id()))


class Host:
    """As much of a host as records need."""

    def get_id(self) -> ID:
        return OWN_ID


@pytest.fixture
def kept() -> BoundedRecords:
    return BoundedRecords(Host(), 1800.0, lambda: None)  # type: ignore[arg-type]


def key(number: int) -> bytes:
    return b"\x12\x20" + hashlib.sha256(str(number).encode()).digest()


def record_of(peer: ID) -> PeerInfo:
    return PeerInfo(peer, [ADDRESS])


TOPIC = record_key("/phase/capability/x86_64/wasmtime")


def test_a_peer_that_announces_random_keys_pushes_out_its_own_records_alone(kept: BoundedRecords) -> None:
    kept.add_provider(TOPIC, record_of(stranger(1)))
    for number in range(5000):
        kept.add_provider(key(number), record_of(stranger(2)))
    assert [info.peer_id for info in kept.get_providers(TOPIC)] == [stranger(1)]
    assert kept.size() <= 1 + records.MOST_TOPICS_OF_PEER


def test_whoever_holds_most_makes_room(kept: BoundedRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_RECORDS", 40)
    kept.add_provider(TOPIC, record_of(stranger(0)))
    for number in range(200):
        kept.add_provider(key(number), record_of(stranger(1 + number % 4)))
    kept.add_provider(TOPIC, record_of(stranger(9)))
    assert kept.size() == 40
    assert [info.peer_id for info in kept.get_providers(TOPIC)] == [stranger(9), stranger(0)]


def test_a_nodes_own_record_is_never_pushed_out(kept: BoundedRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_RECORDS", 300)
    kept.add_provider(TOPIC, record_of(OWN_ID))
    for number in range(2 * records.MOST_PROVIDERS):
        kept.add_provider(TOPIC, record_of(stranger(number)))
    found = [info.peer_id for info in kept.get_providers(TOPIC)]
    assert OWN_ID in found
    assert len(found) == records.MOST_PROVIDERS
    for number in range(400):
        kept.add_provider(key(number), record_of(stranger(10_000 + number)))
    assert OWN_ID in [info.peer_id for info in kept.get_providers(TOPIC)]
    assert kept.size() <= 300


@pytest.mark.parametrize(
    "odd", [b"", b"x", TOPIC + b"x", TOPIC[:-1], b"\x13\x20" + bytes(32)], ids=["empty", "one", "long", "short", "code"]
)
def test_a_key_that_no_topic_has_is_not_kept(kept: BoundedRecords, odd: bytes) -> None:
    kept.add_provider(odd, record_of(stranger(1)))
    assert kept.size() == 0


def test_a_record_that_was_taken_back_no_longer_counts(kept: BoundedRecords) -> None:
    for number in range(3 * records.MOST_TOPICS_OF_PEER):
        kept.add_provider(key(number), record_of(stranger(1)))
        kept.remove_provider(key(number), str(stranger(1)))
    assert kept.size() == 0
    for number in range(records.MOST_TOPICS_OF_PEER):
        kept.add_provider(key(number), record_of(stranger(1)))
    assert kept.size() == records.MOST_TOPICS_OF_PEER


@pytest.mark.anyio
async def test_whoever_does_not_take_what_was_found_gets_the_newest_of_each_peer(net: Any) -> None:
    peer = PeerId(stranger(1).to_base58())
    ready = anyio.Event()

    async def providers(key: bytes, provider: Provider) -> list[ID]:
        for port in range(1, 2001):
            provider(peer, (f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}",))
        ready.set()
        await anyio.sleep_forever()
        return []

    send, receive = anyio.create_memory_object_stream[Found](0)
    async with net.node() as (_, dht), send, receive:
        dht._lookup.providers = providers
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dht.find, CapabilityTopic("x86_64", "wasmtime"), send)
            with anyio.fail_after(5):
                await ready.wait()
                assert (await receive.receive()).addresses == (f"/ip4/127.0.0.1/tcp/2000/p2p/{peer}",)
            with anyio.move_on_after(0.2) as nothing_more:
                await receive.receive()
            assert nothing_more.cancelled_caught
            tasks.cancel_scope.cancel()
