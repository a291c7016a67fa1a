"""Where a node says that it can be reached, and in which order others try it."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import msgspec
import pytest
from plasm_libp2p.addresses import nearest_last, parse, read_binary
from plasm_libp2p.dht import open_dht
from plasm_libp2p.hooks import DhtOptions, Libp2pOptions
from plasm_libp2p.lookup import record_key

from plasm.identity import peer_id
from plasm.ports import AddressRefused, CapabilityTopic, Transport

PEER = peer_id(b"p" * 32)
TOPIC = CapabilityTopic("x86_64", "wasmtime")
PUBLIC, PRIVATE, LOOPBACK = (f"/ip4/{ip}/tcp/4001/p2p/{PEER}" for ip in ("8.8.4.4", "192.168.1.2", "127.0.0.1"))
NAMED = f"/dns4/node.example/tcp/4001/p2p/{PEER}"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([LOOPBACK, PRIVATE, PUBLIC], [PUBLIC, PRIVATE]),
        ([LOOPBACK, PRIVATE], [PRIVATE]),
        ([LOOPBACK], [LOOPBACK]),
        ([PRIVATE, NAMED], [NAMED, PRIVATE]),
        (["nonsense", LOOPBACK, f"/ip6/::1/tcp/1/p2p/{PEER}"], [LOOPBACK, f"/ip6/::1/tcp/1/p2p/{PEER}"]),
        ([], []),
    ],
)
def test_addresses_that_lead_farthest_come_first_and_this_machine_only_where_nothing_else_is(
    said: list[str], told: list[str]
) -> None:
    assert nearest_last(said) == told


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "/ip4/8.8.4.4/udp/4001/quic-v1",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip6/::/tcp/4001",
        "/ip4/8.8.4.4/tcp/0",
        "/dns4/node.example/tcp/4001",
        PUBLIC,
    ],
)
def test_an_address_that_nobody_could_dial_is_refused_with_the_options(address: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"dial|expected an|leave out|not a TCP"):
        msgspec.convert({"announce": [address]}, Libp2pOptions)


@pytest.mark.parametrize("address", ["/ip4/8.8.4.4/tcp/4001", "/ip6/2001:db8::1/tcp/1"])
def test_an_address_that_can_be_dialed_is_taken(address: str) -> None:
    assert msgspec.convert({"announce": [address]}, Libp2pOptions).announce == (address,)


@pytest.mark.parametrize("address", ["/ip4/8.8.4.4/tcp/4001", "/ip6/2001:db8::1/tcp/65535", "/ip4/127.0.0.1/tcp/1"])
@pytest.mark.parametrize("peer", ["", f"/p2p/{PEER}"])
def test_a_binary_address_is_read_as_it_was_written(address: str, peer: str) -> None:
    from multiaddr import Multiaddr

    assert str(read_binary(Multiaddr(address + peer).to_bytes())) == address + peer
    assert parse(address).binary == Multiaddr(address).to_bytes()


@pytest.mark.anyio
async def test_what_is_announced_stands_first_everywhere_and_alone_in_the_dht(net: Any) -> None:
    announce = ("/ip4/8.8.4.4/tcp/4001", "/ip6/2606:4700::1/tcp/4001")
    async with (
        net.node() as (server, records),
        net.transport(announce=announce) as node,
        open_dht(net.scope({Transport: node}, bootstrap=server.addresses), DhtOptions()) as dht,
        anyio.create_task_group() as tasks,
    ):
        first, second, *others = node.addresses
        assert (first, second) == tuple(f"{address}/p2p/{node.peer}" for address in announce)
        assert others, "its own interfaces are for the mDNS of its link"
        await tasks.start(partial(dht.advertise, TOPIC, lambda: node.addresses, {}))
        await net.eventually(lambda: bool(records._records.providers(record_key(TOPIC.key))))
        [kept] = records._records.providers(record_key(TOPIC.key))
        assert [address.place for address in kept.addresses] == list(announce)
        await net.eventually(lambda: bool(server.book.dialable(node.host.get_id())))
        assert [address.place for address in server.book.dialable(node.host.get_id())] == [
            *announce,
            *(parse(address).place for address in others if "127.0.0.1" not in address),
        ]
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_node_of_one_machine_is_in_the_dht_at_its_loopback_address(net: Any) -> None:
    async with (
        net.node() as (server, records),
        net.node(server.addresses) as (node, dht),
        anyio.create_task_group() as tasks,
    ):
        await tasks.start(partial(dht.advertise, TOPIC, lambda: node.addresses, {}))
        await net.eventually(lambda: bool(records._records.providers(record_key(TOPIC.key))))
        [kept] = records._records.providers(record_key(TOPIC.key))
        assert [str(address) for address in kept.addresses] == list(node.addresses)
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_nothing_is_announced_that_the_profile_does_not_allow(net: Any) -> None:
    with pytest.raises(AddressRefused, match="announced"):
        async with net.transport(announce=("/ip4/8.8.4.4/tcp/4001",), allows="127.0.0.1".__eq__):
            pass


@pytest.mark.anyio
async def test_addresses_that_cannot_be_dialed_hide_no_address_that_can(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        [good] = server.addresses
        others = [f"/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{server.peer}" for port in range(1, 41)]
        stream = await client.open_stream(server.peer, [*others, good], net.ECHO)
        await stream.aclose()
