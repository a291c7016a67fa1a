"""Who has to go where a node has as many connections as it may have."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import trio
from libp2p.peer.id import ID
from plasm_libp2p import swarm

from plasm.ports import DialFailed

pytestmark = pytest.mark.anyio


async def settled(net: Any, client: Any, server: Any) -> None:
    """`client` is connected, both know who the other is, and no stream is left."""
    await client.swarm.dial(server.host.get_id(), server.addresses)

    def quiet(here: Any, there: ID) -> bool:
        connection = here.swarm.live(there)
        known = here.book.has_peer(there) and bool(here.book.get_protocols(there))
        return connection is not None and known and not connection.streams

    await net.eventually(lambda: quiet(server, client.host.get_id()) and quiet(client, server.host.get_id()))


def has(server: Any, client: Any) -> bool:
    return server.swarm.live(client.host.get_id()) is not None


async def test_the_connection_on_which_nothing_moved_for_longest_makes_room(net: Any) -> None:
    async with net.echoing(max_connections=2) as server, net.transport(()) as first, net.transport(()) as second:
        await settled(net, first, server)
        await settled(net, second, server)
        await net.answers(first, server)
        await settled(net, first, server)
        async with net.transport(()) as newcomer:
            await net.answers(newcomer, server)
            assert has(server, first)
            assert not has(server, second)


async def test_a_stream_that_moves_is_kept_and_one_that_is_long_quiet_makes_room(net: Any) -> None:
    async with (
        net.echoing(max_connections=2) as server,
        net.transport(()) as first,
        net.transport(()) as second,
        net.transport(()) as newcomer,
    ):
        streams = [await client.open_stream(server.peer, server.addresses, net.ECHO) for client in (first, second)]
        for stream in streams:
            await stream.send(b"x")
            assert await stream.receive() == b"x"
        with pytest.raises(DialFailed):
            await newcomer.open_stream(server.peer, server.addresses, net.ECHO)
        assert has(server, first)
        assert has(server, second)
        server.swarm.live(second.host.get_id()).moved -= swarm.QUIET_SECONDS
        await net.answers(newcomer, server)
        assert has(server, first)
        assert not has(server, second)


async def test_whoever_has_proven_nothing_costs_nobody_a_connection(net: Any) -> None:
    async with net.echoing(max_connections=1) as server, net.transport(()) as client:
        await settled(net, client, server)
        silent = [await trio.open_tcp_stream("127.0.0.1", net.port(server.addresses[0])) for _ in range(5)]
        await net.eventually(lambda: len(server.swarm._handshakes) == 5)
        await anyio.lowlevel.checkpoint()
        assert has(server, client)
        for stream in silent:
            await stream.aclose()
