"""What a node remembers is bounded, and what one stranger says costs nobody else their place."""

from __future__ import annotations

import hashlib
from typing import Any

import anyio
import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr
from plasm_libp2p import records
from plasm_libp2p.addresses import parse
from plasm_libp2p.lookup import Provider, record_key
from plasm_libp2p.peers import PeerBook
from plasm_libp2p.records import BoundedRecords

from plasm.ports import CapabilityTopic, Found, PeerId
from plasm.shares import origin_of

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
    friend, *acquaintances = (stranger(10**6 + number) for number in range(21))
    book.is_connected = lambda peer: peer == friend
    for peer in (friend, *acquaintances):
        book.set_protocols(peer, ["/phase/echo/1"])
    meet(book, 2 * book.max_peers)
    assert book.get_protocols(friend) == ["/phase/echo/1"]
    assert not all(book.has_peer(acquaintance) for acquaintance in acquaintances)


def test_the_identities_of_one_address_make_nobody_else_forgotten() -> None:
    book = PeerBook(OWN_ID)
    friends = [stranger(10**6 + number) for number in range(20)]
    for number, friend in enumerate(friends):
        book.set_addresses(friend, ["/ip4/127.0.0.1/tcp/4001"])
        book.gone(friend, origin_of(f"198.51.{number}.1", str(friend)))
    for number in range(2 * book.max_peers):
        book.set_protocols(stranger(number), ["/phase/echo/1"])
        book.gone(stranger(number), origin_of("192.0.2.1", str(stranger(number))))
    assert len(book.peer_ids()) == book.max_peers
    assert all(book.dialable(friend) for friend in friends)


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


class Records(BoundedRecords):
    """What a node keeps of others' announcements, and who of them is connected."""

    def __init__(self) -> None:
        self.connected: set[ID] = set()
        super().__init__(OWN_ID, 1800.0, lambda: None, self.connected.__contains__)

    def announce(self, key: bytes, peer: ID, ip: str = "192.0.2.1") -> None:
        self.add(key, peer, [parse(str(ADDRESS))], origin_of(ip, str(peer)))

    def of(self, key: bytes) -> list[ID]:
        return [record.peer for record in self.providers(key)]


@pytest.fixture
def kept() -> Records:
    return Records()


def key(number: int) -> bytes:
    return b"\x12\x20" + hashlib.sha256(str(number).encode()).digest()


TOPIC = record_key("/phase/capability/x86_64/wasmtime")


def test_a_peer_that_announces_random_keys_pushes_out_its_own_records_alone(kept: Records) -> None:
    kept.announce(TOPIC, stranger(1))
    for number in range(5000):
        kept.announce(key(number), stranger(2))
    assert kept.of(TOPIC) == [stranger(1)]
    assert len(kept) <= 1 + records.MOST_TOPICS_OF_PEER


def test_a_thousand_identities_of_one_address_cost_an_honest_provider_nothing(kept: Records) -> None:
    kept.announce(TOPIC, stranger(0), "198.51.100.1")
    for number in range(1, 1001):
        kept.announce(TOPIC, stranger(number))
    assert stranger(0) in kept.of(TOPIC)
    assert len(kept) == records.MOST_PROVIDERS - 1


def test_the_records_of_connected_peers_outlive_those_of_peers_that_left(kept: Records) -> None:
    kept.connected.add(stranger(0))
    for number in range(1001):
        kept.announce(TOPIC, stranger(number))
    assert stranger(0) in kept.of(TOPIC)


def test_which_of_a_strangers_records_goes_cannot_be_foreseen(kept: Records) -> None:
    for number in range(2 * records.MOST_PROVIDERS):
        kept.announce(TOPIC, stranger(number))
    left = set(kept.of(TOPIC))
    older = {stranger(number) for number in range(records.MOST_PROVIDERS)}
    assert left & older
    assert left - older


def test_whoever_holds_most_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_RECORDS", 40)
    kept = Records()
    kept.announce(TOPIC, stranger(0))
    for number in range(200):
        kept.announce(key(number), stranger(1 + number % 4))
    kept.announce(TOPIC, stranger(9))
    assert len(kept) == 40
    assert kept.of(TOPIC) == [stranger(9), stranger(0)]


def test_a_nodes_own_record_is_never_pushed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_RECORDS", 300)
    kept = Records()
    kept.announce(TOPIC, OWN_ID)
    for number in range(2 * records.MOST_PROVIDERS):
        kept.announce(TOPIC, stranger(number))
    found = kept.of(TOPIC)
    assert OWN_ID in found
    assert len(found) == records.MOST_PROVIDERS
    for number in range(400):
        kept.announce(key(number), stranger(10_000 + number))
    assert OWN_ID in kept.of(TOPIC)
    assert len(kept) <= 301


@pytest.mark.parametrize(
    "odd", [b"", b"x", TOPIC + b"x", TOPIC[:-1], b"\x13\x20" + bytes(32)], ids=["empty", "one", "long", "short", "code"]
)
def test_a_key_that_no_topic_has_is_not_kept(kept: Records, odd: bytes) -> None:
    kept.announce(odd, stranger(1))
    assert len(kept) == 0


def test_a_record_that_was_taken_back_no_longer_counts(kept: Records) -> None:
    for number in range(3 * records.MOST_TOPICS_OF_PEER):
        kept.announce(key(number), stranger(1))
        kept.remove(key(number), stranger(1))
    assert len(kept) == 0
    for number in range(records.MOST_TOPICS_OF_PEER):
        kept.announce(key(number), stranger(1))
    assert len(kept) == records.MOST_TOPICS_OF_PEER


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
