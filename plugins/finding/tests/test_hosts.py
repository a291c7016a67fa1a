"""From multiaddrs to the host of an HTTP server."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import anyio
import pytest
from plasm_finding.hosts import MOST_HOSTS, base_url, first_to_answer, hosts_of

from plasm.ports import PeerId
from plasm.testing import any_address, loopback_only

PEER = PeerId("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")


def hosts(*addresses: str) -> list[str]:
    return hosts_of(PEER, addresses, any_address)


def test_each_ip_address_counts_once_and_loopback_last() -> None:
    assert hosts(
        f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}",
        f"/ip4/192.0.2.7/udp/4001/quic-v1/p2p/{PEER}",
        f"/ip6/2001:DB8::7/tcp/4001/p2p/{PEER}",
    ) == ["192.0.2.7", "2001:db8::7", "127.0.0.1"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        f"/dns4/example.org/tcp/4001/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p-circuit/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/ip4/192.0.2.8/p2p/{PEER}",
        "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
        "/ip4/192.0.2.7/tcp/4001",
        f"/ip4/192.0.2.256/tcp/4001/p2p/{PEER}",
        f"/ip4/0.0.0.0/tcp/4001/p2p/{PEER}",
        f"/ip4/224.0.0.1/tcp/4001/p2p/{PEER}",
        f"/ip6/fe80::1/tcp/4001/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}\n",
        f"/ip4/192.0.2.7/tcp/4001/{'x' * 300}/p2p/{PEER}",
    ],
)
def test_what_is_no_ip_address_of_the_peer_itself_is_passed_over(address: str) -> None:
    assert hosts(address) == []


def test_the_address_filter_holds() -> None:
    addresses = [f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}", f"/ip6/::1/tcp/4001/p2p/{PEER}"]
    assert hosts_of(PEER, addresses, loopback_only) == ["::1"]


def test_a_peer_has_a_bounded_number_of_hosts() -> None:
    assert len(hosts(*(f"/ip4/192.0.2.{number}/tcp/4001/p2p/{PEER}" for number in range(200)))) == MOST_HOSTS


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert [base_url("2001:db8::7", 80), base_url("192.0.2.7", 8080)] == [
        "http://[2001:db8::7]:80/",
        "http://192.0.2.7:8080/",
    ]


@pytest.mark.anyio
async def test_a_host_that_refuses_or_is_silent_does_not_hide_one_that_answers() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.3", 0)))
        port = listener.getsockname()[1]
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.2", port))
        silent.listen(0)
        # A full backlog: the kernel drops what comes after, as a host does that is not there.
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.2", port))
        with anyio.fail_after(10):
            answered = await first_to_answer(["127.0.0.1", "127.0.0.2", "127.0.0.3"], port)
    assert answered is not None
    assert answered[0] == "127.0.0.3"


@pytest.mark.anyio
async def test_where_no_host_answers_there_is_none(closed_port: int) -> None:
    with anyio.fail_after(10):
        assert await first_to_answer(["127.0.0.1", "127.0.0.2"], closed_port) is None
        assert await first_to_answer([], closed_port) is None
