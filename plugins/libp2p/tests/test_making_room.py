"""Who has to go where a node has as many connections as it may have."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import pytest
import trio
from libp2p.peer.id import ID
from plasm_libp2p import swarm

from plasm.ports import DialFailed, StreamBroken
from plasm.shares import origin_of

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


async def test_an_idle_connection_makes_room(net: Any) -> None:
    async with net.echoing(max_connections=2) as server, net.transport(()) as first, net.transport(()) as second:
        await settled(net, first, server)
        await settled(net, second, server)
        server.swarm.live(second.host.get_id()).moved -= swarm.IDLE_SECONDS
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
        server.swarm.live(second.host.get_id()).moved -= swarm.QUIET_SECONDS
        await net.answers(newcomer, server)
        assert has(server, first)
        assert not has(server, second)


async def strangers(stack: contextlib.AsyncExitStack, net: Any, server: Any, count: int) -> list[Any]:
    """So many clients, each with a stream that just moved."""
    clients = []
    for _ in range(count):
        clients.append(client := await stack.enter_async_context(net.transport(())))
        stream = await client.open_stream(server.peer, server.addresses, net.ECHO)
        await stream.send(b"x")
        assert await stream.receive() == b"x"
    return clients


async def test_connections_that_all_move_lock_nobody_out(net: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(net.echoing(max_connections=12))
        await strangers(stack, net, server, 12)
        # One of the same address competes as one of thirteen: it has a place nearly always.
        served = 0
        for _ in range(8):
            async with net.transport(()) as newcomer:
                with contextlib.suppress(DialFailed, StreamBroken):
                    await net.answers(newcomer, server)
                    served += 1
        assert served >= 4


async def test_a_crowd_of_one_address_costs_another_address_no_connection(net: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(net.echoing(max_connections=4))
        honest, *_ = await strangers(stack, net, server, 4)
        # All of a test come from one machine, so that one of them is said to be elsewhere.
        connection = server.swarm.live(honest.host.get_id())
        server.swarm._up.leave(connection)
        connection.origin = origin_of("192.0.2.7", honest.peer)
        server.swarm._up.enter(connection, connection.origin)
        for _ in range(20):
            newcomer = await stack.enter_async_context(net.transport(()))
            with contextlib.suppress(DialFailed, StreamBroken):
                await newcomer.open_stream(server.peer, server.addresses, net.ECHO)
        assert has(server, honest)


async def test_whoever_speaks_is_not_pushed_out_by_connections_that_say_nothing(net: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(net.transport(max_handshakes=8))
        handshakes = server.swarm._handshakes

        async def connect() -> trio.SocketStream:
            before = set(handshakes)
            stream = await trio.open_tcp_stream("127.0.0.1", net.port(server.addresses[0]))
            await stack.enter_async_context(stream)
            await net.eventually(lambda: set(handshakes) != before)
            return stream

        speaking = await connect()
        await speaking.send_all(b"\x13/multistream/1.0.0\n")
        await net.eventually(lambda: any(not wire.silent for wire in handshakes))
        for _ in range(60):
            for wire in handshakes:
                wire.opened -= swarm.SILENT_SECONDS
            await connect()
        assert len(handshakes) == 8
        assert sum(not wire.silent for wire in handshakes) == 1


async def test_whoever_has_proven_nothing_costs_nobody_a_connection(net: Any) -> None:
    async with net.echoing(max_connections=1) as server, net.transport(()) as client:
        await settled(net, client, server)
        silent = [await trio.open_tcp_stream("127.0.0.1", net.port(server.addresses[0])) for _ in range(5)]
        await net.eventually(lambda: len(server.swarm._handshakes) == 5)
        await anyio.lowlevel.checkpoint()
        assert has(server, client)
        for stream in silent:
            await stream.aclose()
