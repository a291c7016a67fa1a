"""Peers that send silence, garbage or too much: bounded, and honest peers are served meanwhile."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import anyio
import pytest
import trio
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError
from plasm_libp2p import muxed_stream, wire, yamux

from plasm.ports import DialFailed, Stream, StreamBroken

pytestmark = pytest.mark.anyio

HEADER = struct.Struct("!BBHII")


async def test_five_hundred_silent_connections_lock_nobody_out(net: Any) -> None:
    async with net.echoing(max_handshakes=64) as server, net.transport(()) as honest:
        port = net.port(server.addresses[0])
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(500)]
        await net.answers(honest, server)
        await net.eventually(lambda: len(server.swarm._handshakes) <= 64)
        for stream in silent:
            await stream.aclose()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 70_000,
        b"\xff" * 70_000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x13/multistream/1.0.0\n\xff\xff\xff\xff\x7f",
        b"x",
    ],
    ids=["zeros", "ones", "http", "claims-much", "half"],
)
async def test_garbage_on_the_port_harms_nobody(net: Any, garbage: bytes) -> None:
    async with net.echoing() as server, net.transport(()) as honest:
        for _ in range(5):
            stream = await trio.open_tcp_stream("127.0.0.1", net.port(server.addresses[0]))
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(garbage)
            await stream.aclose()
        await net.answers(honest, server)


@pytest.mark.parametrize("answers", [0, 1, 2], ids=["at once", "after the version", "in the handshake"])
async def test_a_peer_that_resets_while_it_is_dialed_is_one_that_could_not_be_reached(net: Any, answers: int) -> None:
    said = [b"\x13/multistream/1.0.0\n", b"\x07/noise\n"][:answers]

    async def reset(stream: trio.SocketStream) -> None:
        for word in said:
            await stream.send_all(word)
        # Until the last of what these words call for has come; then with a reset in place of an end.
        received = b""
        while len(received) < [1, 21, 60][answers] and (data := await stream.receive_some(4096)):
            received += data
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    async with trio.open_nursery() as nursery, net.transport(()) as client, net.transport() as other:
        listeners = await nursery.start(trio.serve_tcp, reset, 0)
        port = listeners[0].socket.getsockname()[1]
        for _ in range(20):
            with pytest.raises(DialFailed):
                await client.open_stream(other.peer, [f"/ip4/127.0.0.1/tcp/{port}/p2p/{other.peer}"], net.ECHO)
        nursery.cancel_scope.cancel()


async def test_a_peer_that_sends_without_end_before_it_is_known_is_cut_off(net: Any) -> None:
    async with net.transport() as server:
        stream = await trio.open_tcp_stream("127.0.0.1", net.port(server.addresses[0]))
        with pytest.raises(trio.BrokenResourceError), anyio.fail_after(10):
            while True:
                # A delimited message of 2^34 bytes, which goes on and on.
                await stream.send_all(b"\x80\x80\x80\x80\x40" + b"a" * 65536)
        await stream.aclose()


async def test_more_connections_than_allowed_push_out_the_idle_ones(net: Any) -> None:
    async with net.echoing(max_connections=4) as server, net.transport(()) as busy:
        kept = await busy.open_stream(server.peer, server.addresses, net.ECHO)
        for _ in range(6):
            async with net.transport(()) as passing:
                await net.answers(passing, server)
        await kept.send(b"kept")
        assert await kept.receive() == b"kept"


async def connected(net: Any, client: Any, server: Any) -> Any:
    connection = await client.swarm.dial(ID.from_string(server.peer), server.addresses)
    assert isinstance(connection, yamux.YamuxConnection)
    return connection


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(7, 0, 0, 1, 0),
        HEADER.pack(0, 9, 0, 1, 0),
        HEADER.pack(0, yamux.DATA, 0, 1, 2**32 - 1),
        HEADER.pack(0, yamux.WINDOW_UPDATE, yamux.SYN, 2, 0),
        HEADER.pack(0, yamux.WINDOW_UPDATE, yamux.SYN, 0, 0),
    ],
    ids=["version", "type", "huge", "wrong-parity", "stream-zero"],
)
async def test_a_frame_against_the_protocol_ends_its_connection_alone(net: Any, frame: bytes) -> None:
    async with net.echoing() as server, net.transport(()) as client, net.transport(()) as honest:
        kept = await honest.open_stream(server.peer, server.addresses, net.ECHO)
        connection = await connected(net, client, server)
        connection.session.send_nowait(frame)
        with anyio.fail_after(5):
            await connection.event_closed.wait()
        await kept.send(b"kept")
        assert await kept.receive() == b"kept"
        await net.answers(client, server)


async def test_a_peer_that_ignores_its_credit_is_cut_off(net: Any) -> None:
    async def never_reads(stream: Stream) -> None:
        await anyio.sleep_forever()

    async with net.transport() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/deaf/1", never_reads)
        connection = await connected(net, client, server)
        stream = await client.negotiate(connection, "/phase/deaf/1")
        stream.send_credit = 2**31
        with pytest.raises(MuxedStreamError), anyio.fail_after(10):
            while True:
                await stream.send(b"x" * 65536)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("resets", [False, True], ids=["open", "reset"])
async def test_what_all_streams_of_a_peer_hold_unread_is_bounded(
    net: Any, monkeypatch: pytest.MonkeyPatch, resets: bool
) -> None:
    monkeypatch.setattr(yamux, "MOST_UNREAD", 8 * muxed_stream.INITIAL_WINDOW)

    async def never_reads(stream: Stream) -> None:
        await anyio.sleep_forever()

    async with net.transport() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/deaf/1", never_reads)
        connection = await connected(net, client, server)
        with pytest.raises(MuxedStreamError), anyio.fail_after(10):
            while True:
                stream = await client.negotiate(connection, "/phase/deaf/1")
                await stream.send(b"x" * (muxed_stream.INITIAL_WINDOW - 1024))
                if resets:
                    stream.abandon()
        tasks.cancel_scope.cancel()


async def test_a_flood_of_streams_is_refused_beyond_the_limit(net: Any) -> None:
    async def never_reads(stream: Stream) -> None:
        await anyio.sleep_forever()

    async with net.echoing() as server, net.transport(()) as client, net.transport(()) as honest:
        connection = await connected(net, client, server)
        for number in range(1, 4000, 2):
            connection.session.send_nowait(HEADER.pack(0, yamux.WINDOW_UPDATE, yamux.SYN, 100_000 + number, 0))
        await net.answers(honest, server)
        theirs = server.swarm.live(client.host.get_id())
        assert theirs is None or sum(not stream.outbound for stream in theirs.streams.values()) <= yamux.MOST_STREAMS


async def test_a_peer_that_asks_much_and_reads_nothing_is_cut_off(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_UNSENT", 2**20)

    async def deaf() -> None:
        await trio.sleep_forever()

    async with net.echoing() as server, net.transport(()) as client, net.transport(()) as honest:
        connection = await connected(net, client, server)
        peer = client.host.get_id()
        await net.eventually(lambda: server.swarm.live(peer) is not None)
        connection.session.wire.fill = deaf
        pings = HEADER.pack(0, yamux.PING, yamux.SYN, 0, 1) * 5000
        with anyio.fail_after(20):
            while server.swarm.live(peer) is not None and not connection.is_closed:
                connection.session.send_nowait(pings)
                await connection.uncongested()
        await net.answers(honest, server)


async def test_a_stream_on_which_nothing_sensible_is_asked_is_given_up(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        connection = await connected(net, client, server)
        stream = await connection.open_stream()
        await stream.send(b"\x04\xff\xfe\xfd\n")
        with anyio.fail_after(5), pytest.raises(MuxedStreamError):
            while await stream.receive(100):
                pass
        await net.answers(client, server)


async def test_a_message_that_was_changed_on_the_way_ends_its_connection(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        stream = await client.open_stream(server.peer, server.addresses, net.ECHO)
        connection = client.swarm.live(server.host.get_id())
        connection.session.wire.send_nowait(b"\x00\x20" + b"\x00" * 32)
        with pytest.raises(StreamBroken), anyio.fail_after(5):
            await stream.receive()
        await net.answers(client, server)


async def test_a_listener_refuses_whom_the_profile_does_not_allow(net: Any) -> None:
    async with net.echoing(allows=lambda ip: ip == "127.0.0.1") as server:
        with trio.socket.socket() as outsider:
            await outsider.bind(("127.0.0.7", 0))
            await outsider.connect(("127.0.0.1", net.port(server.addresses[0])))
            with anyio.fail_after(5), contextlib.suppress(ConnectionResetError):
                assert await outsider.recv(100) == b""
