"""What comes from outside is parsed or refused, whatever it is."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from plasm_libp2p.addresses import TcpAddress, parse, read_binary, resolve
from plasm_libp2p.kademlia import MOST_LOOKED_AT
from plasm_libp2p.lookup import MOST_NAMED, read_peers
from plasm_libp2p.records import MOST_ADDRESSES

from plasm.identity import base58_decode, peer_id
from plasm.ports import AddressRefused

hosts = (
    st.ip_addresses(v=4).map(lambda ip: f"ip4/{ip}")
    | st.ip_addresses(v=6).map(lambda ip: f"ip6/{ip}")
    | st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,8}){0,3}", fullmatch=True).map(lambda name: f"dns4/{name}")
)
peers = st.binary(min_size=32, max_size=32).map(
    lambda seed: peer_id(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())
)


@given(hosts, st.integers(0, 65535), st.none() | peers)
def test_an_address_is_written_as_it_was_read(host: str, port: int, peer: str | None) -> None:
    text = f"/{host}/tcp/{port}" + (f"/p2p/{peer}" if peer else "")
    parsed = parse(text)
    assert parse(str(parsed)) == parsed
    assert (parsed.port, parsed.peer) == (port, peer)


almost = st.lists(st.sampled_from(["ip4", "tcp", "p2p", "1.2.3.4", "80", "", "ws"])).map("/".join)


@given(st.text(max_size=600) | almost)
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    try:
        said = str(parse(str(parse(text))))
    except AddressRefused as error:
        said = str(error)
    assert "\n" not in said


@given(st.lists(st.tuples(st.binary(max_size=80), st.lists(st.binary(max_size=300), max_size=20)), max_size=5))
def test_whatever_an_answer_says_of_peers_is_dropped_or_usable(said: list[tuple[bytes, list[bytes]]]) -> None:
    answer = Message()
    for identifier, addresses in said:
        entry = answer.closerPeers.add()
        entry.id = identifier
        entry.addrs.extend(addresses)
    for peer, addresses in read_peers(answer.closerPeers):
        assert len(addresses) <= MOST_ADDRESSES
        assert all(parse(address).peer == peer for address in addresses)


@pytest.mark.parametrize("alike", [True, False])
def test_an_answer_that_is_full_of_addresses_has_no_more_of_them_read_than_an_honest_one(
    alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr("plasm_libp2p.kademlia.read_binary", lambda raw: read.append(raw) or read_binary(raw))
    answer = Message()
    for number in range(MOST_NAMED):
        entry = answer.providerPeers.add()
        key = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big")).public_key()
        entry.id = base58_decode(peer_id(key.public_bytes_raw()))
        for port in range(MOST_LOOKED_AT):
            entry.addrs.append(TcpAddress("ip4", "192.0.2.1", 1 if alike else 1 + port).binary)
    assert len(read_peers(answer.providerPeers)) == MOST_NAMED
    assert len(read) <= MOST_NAMED * MOST_ADDRESSES


@pytest.mark.anyio
async def test_an_address_that_may_not_be_used_is_not_resolved_to_anything() -> None:
    with pytest.raises(AddressRefused):
        await resolve(parse("/ip4/127.0.0.1/tcp/1"), lambda ip: False)
