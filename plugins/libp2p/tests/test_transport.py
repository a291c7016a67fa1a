"""What the transport does beyond its port's conformance suite."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import trio
from plasm_libp2p import addresses

from plasm.ports import AddressRefused, DialFailed, Stream, StreamBroken, TransportError

pytestmark = pytest.mark.anyio


async def test_a_connection_costs_no_happy_eyeballs_delay(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        begin = trio.current_time()
        await net.answers(client, server)
        assert trio.current_time() - begin < 0.25


async def test_ipv6_works_like_ipv4(net: Any) -> None:
    async with net.echoing(listen=("/ip6/::1/tcp/0",)) as server, net.transport(()) as client:
        assert server.addresses[0].startswith("/ip6/::1/tcp/")
        await net.answers(client, server)


async def test_a_name_is_resolved_and_then_dialed(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        named = f"/dns4/localhost/tcp/{net.port(server.addresses[0])}/p2p/{server.peer}"
        stream = await client.open_stream(server.peer, [named], net.ECHO)
        assert stream.peer == server.peer


async def test_what_a_name_stands_for_is_filtered(net: Any) -> None:
    async with net.echoing() as server, net.transport((), allows=lambda ip: ip in ("10.0.0.1", "8.8.8.8")) as client:
        named = f"/dns4/localhost/tcp/{net.port(server.addresses[0])}/p2p/{server.peer}"
        with pytest.raises(AddressRefused):
            await client.open_stream(server.peer, [named], net.ECHO)
        with pytest.raises(AddressRefused):
            await client.open_stream(server.peer, server.addresses, net.ECHO)


async def test_a_listener_outside_of_what_is_allowed_is_refused(net: Any) -> None:
    with pytest.raises(AddressRefused):
        async with net.transport(("/ip4/127.0.0.1/tcp/0",), allows=lambda ip: ip == "10.0.0.1"):
            pass


async def test_a_wildcard_listens_and_advertises_only_what_is_allowed(net: Any) -> None:
    allows = "127.0.0.1".__eq__
    async with net.echoing(listen=("/ip4/0.0.0.0/tcp/0",), allows=allows) as server, net.transport(()) as client:
        assert [address.split("/")[2] for address in server.addresses] == ["127.0.0.1"]
        await net.answers(client, server)
        listening = {place.host for place in server._listening}
        assert listening == {"127.0.0.1"}


async def test_a_wildcard_is_advertised_as_the_addresses_of_this_machine(net: Any) -> None:
    async with net.transport(("/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0")) as server:
        assert f"/ip4/127.0.0.1/tcp/{net.port(server.addresses[0])}/p2p/{server.peer}" in server.addresses
        assert not any("/0.0.0.0/" in address or "/::/" in address for address in server.addresses)


async def test_streams_share_one_connection(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        for _ in range(3):
            await net.answers(client, server)
        assert client.swarm.get_total_connections() == 1


async def test_streams_that_are_opened_at_once_share_one_connection(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(net.answers, client, server)
        assert client.swarm.get_total_connections() == 1


async def test_a_dead_connection_is_replaced(net: Any) -> None:
    signer = net.signer()
    async with net.transport(()) as client:
        async with net.echoing(signer=signer) as server:
            await net.answers(client, server)
            port = net.port(server.addresses[0])
        async with net.echoing(signer=signer, listen=(f"/ip4/127.0.0.1/tcp/{port}",)) as again:
            await net.answers(client, again)


async def test_a_connection_whose_other_side_fell_silent_is_replaced(net: Any) -> None:
    async with net.echoing() as server, net.transport((), stream_timeout_seconds=0.3) as client:
        await net.answers(client, server)
        stuck = client.swarm.live(server.host.get_id())
        # Whatever is sent from now on gets lost on the way.
        stuck.session.wire.send_nowait = lambda data: None
        await net.answers(client, server)
        assert client.swarm.live(server.host.get_id()) is not stuck


async def answers_and_resets(stream: Stream) -> None:
    await stream.send(b"answer")
    await stream.reset()


async def test_what_arrived_before_a_reset_can_still_be_read(net: Any) -> None:
    async with net.transport() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/abrupt/1", answers_and_resets)
        stream = await client.open_stream(server.peer, server.addresses, "/phase/abrupt/1")
        await net.eventually(lambda: stream._muxed.broken)
        with pytest.raises(StreamBroken):
            await stream.send(b"too late")
        assert await stream.receive(4) == b"answ"
        assert await stream.receive() == b"er"
        for _ in range(2):
            with pytest.raises(StreamBroken):
                await stream.receive()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("last", ["aclose", "reset"])
async def test_what_nobody_reads_of_a_stream_that_was_reset_is_not_kept(net: Any, last: str) -> None:
    async with net.transport() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/abrupt/1", answers_and_resets)
        stream = await client.open_stream(server.peer, server.addresses, "/phase/abrupt/1")
        await net.eventually(lambda: stream._muxed.broken)
        connection = client.swarm.live(server.host.get_id())
        assert stream._muxed.stream_id not in connection.streams
        assert connection.unread >= len(b"answer")
        await getattr(stream, last)()
        await net.eventually(lambda: connection.unread == 0)
        tasks.cancel_scope.cancel()


async def test_nothing_is_read_from_a_stream_that_was_reset_here(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        stream = await client.open_stream(server.peer, server.addresses, net.ECHO)
        await stream.send(b"echo")
        await net.eventually(lambda: bool(stream._muxed.unread))
        await stream.reset()
        with pytest.raises(StreamBroken):
            await stream.receive()
        connection = client.swarm.live(server.host.get_id())
        await net.eventually(lambda: connection.unread == 0)


async def test_cancelling_serve_ends_its_handlers_and_resets_their_streams(net: Any) -> None:
    ended = anyio.Event()

    async def waits(stream: Stream) -> None:
        try:
            await stream.send(b"ready")
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with net.transport() as server, net.transport(()) as client:
        async with anyio.create_task_group() as tasks:
            await tasks.start(server.serve, "/phase/waits/1", waits)
            stream = await client.open_stream(server.peer, server.addresses, "/phase/waits/1")
            assert await stream.receive() == b"ready"
            tasks.cancel_scope.cancel()
        assert ended.is_set()
        with pytest.raises(StreamBroken), anyio.fail_after(5):
            await stream.receive()


async def test_a_handler_notices_that_its_connection_is_gone(net: Any) -> None:
    outcome: list[BaseException] = []
    noticed = anyio.Event()

    async def waits(stream: Stream) -> None:
        await stream.send(b"ready")
        try:
            await stream.receive()
        except StreamBroken as error:
            outcome.append(error)
            raise
        finally:
            noticed.set()

    async with net.transport() as server, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/waits/1", waits)
        async with net.transport(()) as client:
            stream = await client.open_stream(server.peer, server.addresses, "/phase/waits/1")
            assert await stream.receive() == b"ready"
        with anyio.fail_after(5):
            await noticed.wait()
        assert outcome
        tasks.cancel_scope.cancel()


async def test_one_protocol_is_served_once(net: Any) -> None:
    async with net.echoing() as server:
        with pytest.raises(TransportError):
            await server.serve(net.ECHO, net.echo)


async def test_a_transport_that_is_closed_with_open_streams_is_closed_soon(net: Any) -> None:
    async with net.echoing() as server:
        begin = trio.current_time()
        async with net.transport(()) as client:
            for _ in range(5):
                await client.open_stream(server.peer, server.addresses, net.ECHO)
            begin = trio.current_time()
        assert trio.current_time() - begin < 2


async def test_many_megabytes_arrive_whole_and_in_order(net: Any) -> None:
    total = 24 * 2**20
    block = bytes(range(256)) * 4096

    async def sends(stream: Stream) -> None:
        for _ in range(total // len(block)):
            await stream.send(block)

    async with net.transport() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/sends/1", sends)
        stream = await client.open_stream(server.peer, server.addresses, "/phase/sends/1")
        received = bytearray()
        with anyio.fail_after(30):
            while piece := await stream.receive(2**20):
                received += piece
        assert received == block * (total // len(block))
        tasks.cancel_scope.cancel()


async def test_a_cancelled_send_tears_no_other_stream(net: Any) -> None:
    async def reads_later(stream: Stream) -> None:
        await stream.receive(1)
        await anyio.sleep_forever()

    async with net.echoing() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/later/1", reads_later)
        for _ in range(5):
            stream = await client.open_stream(server.peer, server.addresses, "/phase/later/1")
            with anyio.move_on_after(0.05):
                await stream.send(b"x" * 2**22)
            await stream.reset()
        await net.answers(client, server, b"y" * 100_000)
        assert client.swarm.get_total_connections() == 1
        tasks.cancel_scope.cancel()


async def test_latency_is_told_for_connected_peers_only(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        with pytest.raises(TransportError):
            await client.latency(server.peer)
        await net.answers(client, server)
        assert 0 < await client.latency(server.peer) < 1


async def test_nobody_dials_itself(net: Any) -> None:
    async with net.echoing() as server:
        with pytest.raises(DialFailed):
            await server.open_stream(server.peer, server.addresses, net.ECHO)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/1.2.3.4/udp/1/quic-v1",
        "/ip4/1.2.3.4/tcp/1/ws",
        "/ip4/1.2.3.4/tcp/65536",
        "/ip4/1.2.3.4/tcp/-1",
        "/ip4/1.2.3.4/tcp/٣",
        "/ip6/fe80::1%eth0/tcp/1",
        "/dns/a b/tcp/1",
        "/dns//tcp/1",
        "/ip4/1.2.3.4/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/ip4/01.2.3.4/tcp/1",
        "/" * 100_000,
    ],
)
def test_an_address_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        addresses.parse(text)


async def test_where_another_peer_is_the_failure_names_both(net: Any) -> None:
    async with net.echoing() as server, net.transport() as wanted, net.transport(()) as client:
        place = f"/ip4/127.0.0.1/tcp/{net.port(server.addresses[0])}"
        with pytest.raises(DialFailed, match=f"{wanted.peer} is not at {place}; {server.peer} is"):
            await client.open_stream(wanted.peer, [f"{place}/p2p/{wanted.peer}"], net.ECHO)
        assert client.peer not in [str(peer) for peer in server.swarm.connections], "and it did not say who dialed"
