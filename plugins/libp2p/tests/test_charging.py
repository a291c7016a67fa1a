"""What a peer may take of the event loop, and who waits for it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.utils import encode_varint_prefixed
from plasm_libp2p import yamux
from plasm_libp2p.budget import HANDSHAKE_UNITS, RESET_UNITS, LoopBounds, LoopBudget
from plasm_libp2p.identification import AGENT, read_description
from plasm_libp2p.negotiation import MOST_PROPOSALS, open_negotiated
from plasm_libp2p.noise import MOST_AT_ONCE

from plasm.ports import Stream
from plasm.shares import Origin, origin_of

HEADER = struct.Struct("!BBHII")


async def connected(client: Any, server: Any) -> Any:
    return await client.swarm.dial(ID.from_string(server.peer), server.addresses)


def pings(number: int) -> bytes:
    return HEADER.pack(0, yamux.PING, yamux.SYN, 0, number)


def credits(number: int) -> bytes:
    return HEADER.pack(0, yamux.WINDOW_UPDATE, 0, 999_999, 1)


def given_up(number: int) -> bytes:
    identifier = 100_001 + 2 * number
    opened = HEADER.pack(0, yamux.WINDOW_UPDATE, yamux.SYN, identifier, 0)
    return opened + HEADER.pack(0, yamux.WINDOW_UPDATE, yamux.RST, identifier, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("frames", [pings, credits, given_up], ids=["pings", "credit for nothing", "rapid resets"])
async def test_frames_that_are_of_no_use_end_their_connection(net: Any, frames: Callable[[int], bytes]) -> None:
    async with net.echoing() as server, net.transport(()) as client, net.transport(()) as honest:
        kept = await honest.open_stream(server.peer, server.addresses, net.ECHO)
        connection = await connected(client, server)
        peer = client.host.get_id()
        await net.eventually(lambda: server.swarm.live(peer) is not None)
        number = 0
        with anyio.fail_after(20):
            while server.swarm.live(peer) is not None and not connection.is_closed:
                connection.session.send_nowait(b"".join(frames(number + each) for each in range(500)))
                number += 500
                await connection.uncongested()
        await kept.send(b"kept")
        assert await kept.receive() == b"kept"


def charged_at_once(connection: Any) -> list[int]:
    """The units of each charge to `connection` from now on."""
    worked_off: list[int] = []
    charge = connection.charge

    async def counted(units: int = 0) -> None:
        worked_off.append(units + connection._owed)
        await charge(units)

    connection.charge = counted
    return worked_off


@pytest.mark.anyio
async def test_others_run_between_the_frames_of_one_connection(net: Any) -> None:
    """However many arrive at once: so a batch of them is what anybody waits for."""
    async with net.echoing() as server, net.transport(()) as client:
        connection = await connected(client, server)
        await net.eventually(lambda: server.swarm.live(client.host.get_id()) is not None)
        theirs = server.swarm.live(client.host.get_id())
        worked_off = charged_at_once(theirs)
        connection.session.send_nowait(credits(0) * 5000)
        await net.eventually(lambda: sum(worked_off) >= 4000)
        assert max(worked_off) <= 2 * yamux.BATCH_UNITS


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"", b"\0"], ids=["nothing", "a byte of a header"])
async def test_messages_with_less_in_them_than_a_frame_are_charged_as_frames(net: Any, content: bytes) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        connection = await connected(client, server)
        await net.eventually(lambda: server.swarm.live(client.host.get_id()) is not None)
        theirs = server.swarm.live(client.host.get_id())
        worked_off = charged_at_once(theirs)
        session = connection.session
        # Headers of frames that are of no use, a byte at a time, or nothing at all.
        parts = [content] * 1200
        session.wire.send_nowait(b"".join(map(session._seal, parts)))
        await net.eventually(lambda: sum(worked_off) >= 1000)
        assert max(worked_off) <= MOST_AT_ONCE + yamux.BATCH_UNITS


@pytest.mark.anyio
async def test_what_costs_more_than_its_network_has_is_waited_for() -> None:
    budget = LoopBudget(
        LoopBounds(connection_units_per_second=1, connection_burst=10, units_per_second=100, network_burst=50)
    )
    greedy, other = origin_of("192.0.2.1", "greedy"), origin_of("198.51.100.1", "other")
    assert budget.charge(greedy, 10) == 0, "a connection has a few for nothing"
    assert budget.charge(greedy, 50) == 0, "and its network some more"
    assert budget.charge(greedy, 100) == pytest.approx(1.0, abs=0.1)
    assert budget.charge(origin_of("192.0.2.9", "neighbour"), 10) == 0, "its neighbour still has its own"
    assert budget.charge(other, 50) == 0, "and another network all of it"


@pytest.mark.anyio
async def test_networks_that_owe_at_the_same_time_share_what_there_is() -> None:
    budget = LoopBudget(
        LoopBounds(connection_units_per_second=1, connection_burst=10, units_per_second=1000, network_burst=50)
    )
    strangers = [origin_of(f"198.51.{number}.1", f"peer {number}") for number in range(40)]
    assert budget.charge(strangers[0], 150) == pytest.approx(0.1, abs=0.01), "alone it has all"
    for stranger in strangers[1:]:
        budget.charge(stranger, 150)
    assert budget.charge(strangers[0], 100) >= 4.0, "and among forty a fortieth"
    assert budget.charge(origin_of("192.0.2.1", "honest"), 10) == 0, "who owes nothing waits for nobody"


@pytest.mark.anyio
@pytest.mark.parametrize(("networks", "slower"), [(1, 1), (2, 10)])
async def test_where_the_event_loop_is_late_networks_that_compete_have_less(networks: int, slower: float) -> None:
    def waits(late: float) -> float:
        bounds = LoopBounds(
            connection_units_per_second=1,
            connection_burst=0,
            units_per_second=1000,
            least_units_per_second=100,
            network_burst=0,
        )
        budget = LoopBudget(bounds)
        for number in range(networks):
            budget.charge(origin_of(f"198.51.{number}.1", "other"), 1)
        for _ in range(100):
            budget.look(late * bounds.late_seconds)
        return budget.charge(origin_of("198.51.0.1", "greedy"), 100)

    assert waits(2.0) == pytest.approx(slower * waits(0.5), rel=0.05)


@pytest.mark.anyio
async def test_a_stream_that_had_to_be_reset_is_charged_to_whoever_opened_it(net: Any) -> None:
    async with net.transport() as server, net.transport(()) as client, anyio.create_task_group() as tasks:

        async def refuse(stream: Stream) -> None:
            await stream.receive()
            await stream.reset()

        await tasks.start(server.serve, "/phase/refuse/1", refuse)
        stream = await client.open_stream(server.peer, server.addresses, "/phase/refuse/1")
        theirs = server.swarm.live(client.host.get_id())
        before = theirs._owed
        await stream.send(b"nonsense")
        await net.eventually(lambda: stream._muxed.broken)
        assert theirs._owed >= before + RESET_UNITS
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_handshakes_are_charged_to_their_network_and_silence_is_not(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[float] = []
    charge = LoopBudget.charge

    def counted(budget: LoopBudget, origin: Origin, units: float) -> float:
        if not origin.peer:
            charged.append(units)
        return charge(budget, origin, units)

    monkeypatch.setattr(LoopBudget, "charge", counted)
    async with net.echoing() as server, net.transport(()) as client:
        port = net.port(server.addresses[0])
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(5)]
        await net.answers(client, server)
        assert charged == [HANDSHAKE_UNITS]
        for stream in silent:
            await stream.aclose()


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


class Holder:
    """A connection as far as it is counted."""

    def __init__(self, budget: LoopBudget, origin: Origin) -> None:
        self.origin, self.inbound, self.unread = origin, 0, 0
        self.closed = False
        self._budget = budget
        budget.enter(self)

    def opens(self) -> None:
        self._budget.room_for_a_stream()
        self.inbound += 1
        self._budget.inbound += 1

    def give_up_a_stream(self) -> None:
        self.inbound -= 1
        self._budget.inbound -= 1

    def reads_nothing(self, count: int) -> None:
        self.unread += count
        self._budget.unread += count
        self._budget.bound_unread()

    def shut(self) -> None:
        self.closed = True
        self._budget.leave(self)
        self._budget.unread -= self.unread
        self.unread = 0


@pytest.mark.anyio
async def test_streams_beyond_the_bound_cost_whoever_has_most() -> None:
    budget = LoopBudget(LoopBounds(inbound_streams=20))
    honest = Holder(budget, origin_of("198.51.100.1", "honest"))
    strangers = [Holder(budget, origin_of("192.0.2.1", f"stranger {number}")) for number in range(4)]
    for _ in range(3):
        honest.opens()
    for _ in range(50):
        for stranger in strangers:
            stranger.opens()
    assert honest.inbound == 3
    assert budget.inbound == 20


@pytest.mark.anyio
async def test_what_is_unread_beyond_the_bound_costs_whoever_has_most_the_connection() -> None:
    budget = LoopBudget(LoopBounds(unread_bytes=1000))
    honest = Holder(budget, origin_of("198.51.100.1", "honest"))
    strangers = [Holder(budget, origin_of("192.0.2.1", f"stranger {number}")) for number in range(4)]
    honest.reads_nothing(400)
    for stranger in strangers:
        stranger.reads_nothing(300)
    assert not honest.closed
    assert any(stranger.closed for stranger in strangers)
    assert budget.unread <= 1000


@pytest.mark.anyio
async def test_the_books_of_a_node_are_even_once_everybody_has_gone(net: Any) -> None:
    async def never_reads(stream: Stream) -> None:
        await anyio.sleep_forever()

    async with net.transport() as server, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/deaf/1", never_reads)
        budget = None
        async with net.transport(()) as client:
            for ending in ("reset", "aclose", "nothing"):
                stream = await client.open_stream(server.peer, server.addresses, "/phase/deaf/1")
                await stream.send(b"x" * 1000)
                if ending != "nothing":
                    await getattr(stream, ending)()
            theirs = server.swarm.live(client.host.get_id())
            budget = theirs._budget
            await net.eventually(lambda: budget.unread >= 1000)
        await net.eventually(lambda: (budget.unread, budget.inbound, len(budget._held)) == (0, 0, 0))
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_stream_on_which_one_protocol_after_another_is_proposed_is_given_up(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        stream = await (await connected(client, server)).open_stream()
        await stream.send(b"\x13/multistream/1.0.0\n" + b"\x03/x\n" * 20_000)
        received = b""
        with anyio.fail_after(5), pytest.raises(MuxedStreamError):
            while piece := await stream.receive(65536):
                received += piece
            raise AssertionError("it ended in order")
        assert received.count(b"na\n") <= MOST_PROPOSALS
        await net.answers(client, server)


@pytest.mark.anyio
async def test_whoever_waits_for_the_header_before_it_proposes_is_answered(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        stream = await (await connected(client, server)).open_stream()
        await stream.send(b"\x13/multistream/1.0.0\n")
        with anyio.fail_after(5):
            assert await stream.receive(100) == b"\x13/multistream/1.0.0\n"
            await stream.send(b"\x06/none\n")
            assert await stream.receive(100) == b"\x03na\n"
            name = net.ECHO.encode() + b"\n"
            await stream.send(bytes([len(name)]) + name + b"hello")
            assert await stream.receive(100) == bytes([len(name)]) + name
            assert await stream.receive(100) == b"hello"


@pytest.mark.anyio
async def test_pings_are_echoed_however_they_arrive(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        stream = await client.open_stream(server.peer, server.addresses, "/ipfs/ping/1.0.0")
        for size in (32, 5, 27, 3200):
            await stream.send(b"p" * size)
            received = b""
            with anyio.fail_after(5):
                while len(received) < size:
                    received += await stream.receive()
            assert received == b"p" * size
        await stream.send_eof()
        with anyio.fail_after(5):
            assert await stream.receive() == b""


@pytest.mark.anyio
async def test_a_node_says_that_it_is_plasm_and_what_it_speaks_now(net: Any) -> None:
    async with net.echoing() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        for served in (False, True):
            if served:
                await tasks.start(server.serve, "/phase/more/1", net.echo)
            stream = await client.open_stream(server.peer, server.addresses, str(IDENTIFY))
            with trio.fail_after(5):
                said = await read_description(stream._muxed)
            assert said.agent_version == AGENT
            assert AGENT.startswith("plasm/0.")
            assert ("/phase/more/1" in said.protocols) == served
            assert said.observed_addr.startswith(b"\x04\x7f\x00\x00\x01\x06")
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_large_description_that_is_pushed_is_charged_by_what_it_holds(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[int] = []
    charge = yamux.YamuxConnection.charge

    async def counted(connection: yamux.YamuxConnection, units: int = 0) -> None:
        charged.append(units)
        await charge(connection, units)

    large = Identify(protocols=[f"/protocol/{number}" for number in range(2000)]).SerializeToString()
    async with net.echoing() as server, net.transport(()) as client:
        connection = await connected(client, server)
        monkeypatch.setattr(yamux.YamuxConnection, "charge", counted)
        stream = await open_negotiated(connection, str(ID_PUSH))
        await stream.send(encode_varint_prefixed(large))
        stream.leave()
        await net.eventually(lambda: max(charged, default=0) >= len(large) // 128)


@pytest.mark.anyio
async def test_nothing_more_is_read_from_a_peer_while_one_of_its_streams_waits_for_what_it_cost(
    net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = 0.5
    async with net.echoing() as server, net.transport(()) as client, trio.open_nursery() as nursery:
        connection = await connected(client, server)
        theirs = server.swarm.live(client.host.get_id())
        monkeypatch.setattr(theirs._budget, "charge", lambda origin, units: waits)
        began = trio.current_time()
        nursery.start_soon(theirs.charge, yamux.BATCH_UNITS)
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(theirs._budget, "charge", lambda origin, units: 0.0)
        for _ in range(2):
            # The first is what the reader was waiting for.
            await connection.ping()
        assert trio.current_time() - began >= waits
