"""Names of hosts: nobody is asked for one where packets must stay local, nor on a stranger's word."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr
from plasm_libp2p.addresses import parse, resolve
from plasm_libp2p.kademlia import KAD
from plasm_libp2p.lookup import read_peers, record_key
from plasm_libp2p.peers import PeerBook

from plasm.identity import peer_id
from plasm.ports import AddressRefused, CapabilityTopic, Found

pytestmark = pytest.mark.anyio
PEER = peer_id(b"p" * 32)
NAMED = "/dns4/leak.example.org/tcp/4001"
NUMBERED = "/ip4/127.0.0.1/tcp/4001"


def local_only(ip: str) -> bool:
    return ip.startswith("127.")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that the resolver was asked for."""
    names: list[str] = []

    async def getaddrinfo(host: str, *arguments: Any, **options: Any) -> list[Any]:
        names.append(host)
        return []

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    return names


@pytest.mark.parametrize("kind", ["dns", "dns4", "dns6"])
async def test_no_name_is_resolved_where_public_addresses_are_refused(asked: list[str], kind: str) -> None:
    with pytest.raises(AddressRefused, match="name"):
        await resolve(parse(f"/{kind}/leak.example.org/tcp/1"), local_only)
    assert asked == []


async def test_no_name_is_resolved_for_a_dial_where_public_addresses_are_refused(net: Any, asked: list[str]) -> None:
    async with net.transport((), allows=local_only) as client:
        with pytest.raises(AddressRefused):
            await client.open_stream(PEER, [f"{NAMED}/p2p/{PEER}"], net.ECHO)
    assert asked == []


def test_names_in_the_answers_of_strangers_are_dropped() -> None:
    answer = Message()
    entry = answer.closerPeers.add()
    entry.id = ID.from_string(PEER).to_bytes()
    entry.addrs.extend(Multiaddr(address).to_bytes() for address in (NAMED, NUMBERED))
    assert read_peers(answer.closerPeers) == [(PEER, (f"{NUMBERED}/p2p/{PEER}",))]


def test_names_that_a_peer_says_of_itself_are_not_remembered() -> None:
    book = PeerBook(ID.from_string(peer_id(b"o" * 32)))
    book.add_addrs(ID.from_string(PEER), [Multiaddr(NAMED), Multiaddr(NUMBERED)])
    assert [str(address) for address in book.addrs(ID.from_string(PEER))] == [NUMBERED]


async def test_names_in_records_that_were_announced_here_are_not_found(net: Any) -> None:
    topic = CapabilityTopic("x86_64", "wasmtime")
    send, receive = anyio.create_memory_object_stream[Found](10)
    async with net.node() as (server, dht), net.transport(()) as client, send, receive:
        message = Message(type=Message.MessageType.ADD_PROVIDER, key=record_key(topic.key))
        entry = message.providerPeers.add()
        entry.id = client.host.get_id().to_bytes()
        entry.addrs.extend(Multiaddr(address).to_bytes() for address in (NAMED, NUMBERED))
        stream = await client.open_stream(server.peer, server.addresses, KAD)
        await stream.send(encode_varint_prefixed(message.SerializeToString()))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dht.find, topic, send)
            with anyio.fail_after(5):
                assert (await receive.receive()).addresses == (f"{NUMBERED}/p2p/{client.peer}",)
            tasks.cancel_scope.cancel()
