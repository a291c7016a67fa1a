"""What every transport must do to connect."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress

import anyio
import pytest
from anyio.abc import TaskStatus

from plasm.identity import peer_of_address
from plasm.ports import AddressRefused, DialFailed, LatencyProbe, Located, PeerId, Stream, StreamBroken, TransportError
from plasm.testing.suites.background import tasks
from plasm.testing.suites.bench import ECHO, Bench, MakeTransport, echo, finish, read_all
from plasm.testing.suites.flow import FlowChecks
from plasm.testing.suites.handlers import HandlerChecks
from plasm.testing.suites.promises import raises, within
from plasm.testing.suites.streams import StreamChecks

_NOT_ADDRESSES = (
    "",
    "/",
    "nonsense",
    "127.0.0.1:4001",
    "http://127.0.0.1/",
    "/p2p/",
    "/ip4/127.0.0.1/tcp/4001",
    "/ip4/127.0.0.1/tcp/4001/p2p/",
    "/ip4/127.0.0.1/tcp/4001/p2p/nobody",
    "/ip4/999.0.0.1/tcp/4001/p2p/",
    "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW\n",
    "/" + "a/" * 5000,
)


class TransportSuite(StreamChecks, FlowChecks, HandlerChecks):
    """`make(seed, listen=True)` returns the async context manager of a transport that is ``FakeSigner(seed).peer``.

    With `listen` it listens on loopback; without it is a client that answers nobody. Override :meth:`identity` where
    the driver cannot take that signer. Two or three transports of a test live in one event loop.
    """

    pytestmark = pytest.mark.anyio
    patience: float = 20.0

    async def dead_address(self, make: MakeTransport, peer: PeerId) -> str:
        """An address of this transport where nobody is, with `peer` in it. Its listener has just been closed."""
        async with make(90, listen=True) as gone:
            return gone.addresses[0].rpartition("/p2p/")[0] + f"/p2p/{peer}"

    async def test_it_can_be_dialed_at_concrete_addresses_that_name_it(self, make: MakeTransport) -> None:
        async with make(1, listen=True) as transport:
            assert transport.addresses, "a transport that listens has addresses"
            for address in transport.addresses:
                assert peer_of_address(address) == self.identity(1), (
                    f"an address ends in /p2p/ and this node: {address!r}"
                )
                assert transport.understands(address), f"a transport understands its own address {address!r}"
                assert "/ip4/0.0.0.0/" not in address, "an address is concrete, never a wildcard"
                assert "/ip6/::/" not in address, "an address is concrete, never a wildcard"
                assert "/tcp/0/" not in address, "an address is concrete: port 0 is none"

    async def test_each_of_its_addresses_can_be_dialed(self, make: MakeTransport) -> None:
        async with make(1, listen=True) as server, tasks() as group:
            await self.start_serving(group, server, ECHO, echo)
            for address in server.addresses:
                async with make(2, listen=False) as client:
                    stream = await self.open(client, self.identity(1), [address])
                    await finish(stream, b"there?", self.patience)

    async def test_a_client_has_no_addresses(self, make: MakeTransport) -> None:
        async with make(2, listen=False) as client:
            assert tuple(client.addresses) == (), "a client that answers nobody cannot be dialed, and has no addresses"

    async def test_what_is_no_address_is_not_understood(self, make: MakeTransport) -> None:
        async with make(2, listen=False) as client:
            for address in _NOT_ADDRESSES:
                assert client.understands(address) is False, f"{address[:60]!r} is no address ending in /p2p/PEER"

    async def test_what_is_no_address_is_refused(self, make: MakeTransport) -> None:
        async with make(2, listen=False) as client:
            for address in _NOT_ADDRESSES:
                with (
                    within(self.patience, "each address gets a deadline"),
                    raises(
                        (AddressRefused, DialFailed), f"{address[:60]!r} leads nowhere: AddressRefused or DialFailed"
                    ),
                ):
                    await client.open_stream(self.identity(1), [address], ECHO)

    async def test_both_sides_are_proven(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            assert here.peer == self.identity(1), "the returned stream's peer is the peer that was asked for"
            assert there.peer == self.identity(2), (
                f"a handler's stream carries the proven identity of who dialed, {self.identity(2)}, not {there.peer}"
            )

    async def test_a_stream_that_tells_where_its_peer_is_tells_an_address(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            for stream in await bench.stream():
                if not isinstance(stream, Located):
                    pytest.skip("this transport does not tell from where a peer is connected")
                # A scope may be part of it; anything else is no address, and ValueError says so.
                assert ipaddress.ip_address(stream.remote_ip.partition("%")[0]).is_loopback, (
                    f"remote_ip is the address at the other end, here a loopback one, not {stream.remote_ip!r}"
                )

    async def test_what_a_peer_says_does_not_change_who_it_is(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            await here.send(f"/p2p/{self.identity(3)}\n".encode())
            await there.send(f"/p2p/{self.identity(3)}\n".encode())
            with within(self.patience, "what was sent arrives"):
                await there.receive()
                await here.receive()
            assert (here.peer, there.peer) == (self.identity(1), self.identity(2)), (
                "peer is proven by the handshake, never by anything said on the stream"
            )

    async def test_each_of_several_dialers_is_known(self, make: MakeTransport) -> None:
        seen: list[PeerId] = []

        async def note(stream: Stream) -> None:
            seen.append(stream.peer)
            await echo(stream)

        async with make(1, listen=True) as server, tasks() as group:
            await self.start_serving(group, server, ECHO, note)
            async with make(2, listen=False) as one, make(3, listen=False) as other:
                for client in (one, other, one):
                    stream = await self.open(client, self.identity(1), server.addresses)
                    await finish(stream, b"me", self.patience)
        assert sorted(seen) == sorted([self.identity(2), self.identity(3), self.identity(2)]), (
            "each inbound stream carries the identity of its own dialer"
        )

    async def test_another_identity_than_was_asked_for_is_refused(self, make: MakeTransport) -> None:
        answered = anyio.Event()

        async def note(stream: Stream) -> None:
            answered.set()

        async with make(1, listen=True) as impostor, make(2, listen=False) as client, tasks() as group:
            await self.start_serving(group, impostor, ECHO, note)
            victim = self.identity(3)
            pretended = [address.rpartition("/p2p/")[0] + f"/p2p/{victim}" for address in impostor.addresses]
            with (
                within(self.patience, "each address gets a deadline"),
                raises(DialFailed, "another identity than the address names is DialFailed"),
            ):
                await client.open_stream(victim, pretended, ECHO)
            with (
                within(self.patience, "each address gets a deadline"),
                raises(
                    (DialFailed, AddressRefused), "the returned stream's peer is `peer`: others' addresses do not help"
                ),
            ):
                await client.open_stream(victim, list(impostor.addresses), ECHO)
            assert not answered.is_set(), "a stream to another identity never gets as far as a handler"

    async def test_a_dead_address_fails_in_time(self, make: MakeTransport) -> None:
        dead = await self.dead_address(make, self.identity(1))
        async with make(2, listen=False) as client:
            with (
                within(self.patience, "each address gets a deadline"),
                raises(DialFailed, "an address where nobody is raises DialFailed"),
            ):
                await client.open_stream(self.identity(1), [dead], ECHO)

    async def test_without_an_address_there_is_no_stream(self, make: MakeTransport) -> None:
        async with make(2, listen=False) as client:
            with within(self.patience, "nothing is waited for"), raises(DialFailed, "no address is DialFailed"):
                await client.open_stream(self.identity(1), [], ECHO)

    @pytest.mark.parametrize("first", ["dead", "nonsense", "another's"])
    async def test_a_bad_address_does_not_spoil_a_good_one(self, make: MakeTransport, first: str) -> None:
        dead = await self.dead_address(make, self.identity(1))
        async with make(1, listen=True) as server, make(3, listen=True) as third, tasks() as group:
            await self.start_serving(group, server, ECHO, echo)
            pretended = third.addresses[0].rpartition("/p2p/")[0] + f"/p2p/{self.identity(1)}"
            bad = {"dead": dead, "nonsense": "nonsense", "another's": pretended}[first]
            for addresses in ([bad, *server.addresses], [*server.addresses, bad]):
                async with make(2, listen=False) as client:
                    stream = await self.open(
                        client,
                        self.identity(1),
                        addresses,
                        promise=f"a bad address ({first}) does not spoil a good one",
                    )
                    await finish(stream, b"found you", self.patience)

    async def test_a_failed_dial_does_not_spoil_the_next(self, make: MakeTransport) -> None:
        dead = await self.dead_address(make, self.identity(1))
        async with make(1, listen=True) as server, make(2, listen=False) as client, tasks() as group:
            await self.start_serving(group, server, ECHO, echo)
            with within(self.patience, "each address gets a deadline"), raises(DialFailed, "nobody is there"):
                await client.open_stream(self.identity(1), [dead], ECHO)
            stream = await self.open(
                client, self.identity(1), server.addresses, promise="a peer that was not reached can be reached later"
            )
            await finish(stream, b"now", self.patience)

    async def test_a_protocol_that_is_not_served_fails(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            with (
                within(self.patience, "an unknown protocol is refused, not waited for"),
                raises(DialFailed, "no such protocol is DialFailed"),
            ):
                await bench.client.open_stream(self.identity(1), bench.server.addresses, "/phase/suite/unknown/1")
            here, there = await bench.stream()
            await here.send(b"x")
            assert await there.receive() == b"x", "a protocol that is not served does not spoil another"

    async def test_protocols_do_not_mix(self, make: MakeTransport) -> None:
        async def says(stream: Stream, what: bytes) -> None:
            await stream.send(what)

        async with make(1, listen=True) as server, make(2, listen=False) as client, tasks() as group:
            await self.start_serving(group, server, "/phase/suite/a/1", lambda stream: says(stream, b"a"))
            await self.start_serving(group, server, "/phase/suite/b/1", lambda stream: says(stream, b"b"))
            for name in ("a", "b", "a"):
                stream = await self.open(client, self.identity(1), server.addresses, f"/phase/suite/{name}/1")
                assert await read_all(stream, self.patience) == name.encode(), "each protocol has its own handler"
                await stream.aclose()

    async def test_a_dialer_is_answered_as_soon_as_it_is_started(self, make: MakeTransport) -> None:
        async with make(2, listen=False) as client:
            for seed in (1, 3):
                async with make(seed, listen=True) as server, tasks() as group:
                    await self.start_serving(group, server, ECHO, echo)
                    stream = await self.open(
                        client,
                        self.identity(seed),
                        server.addresses,
                        promise="started() once a dialer would be answered",
                    )
                    await finish(stream, b"at once", self.patience)

    async def test_what_listens_can_dial_too(self, make: MakeTransport) -> None:
        async with make(1, listen=True) as one, make(2, listen=True) as other, tasks() as group:
            await self.start_serving(group, one, ECHO, echo)
            await self.start_serving(group, other, ECHO, echo)
            for dialer, peer, addresses in (
                (one, self.identity(2), other.addresses),
                (other, self.identity(1), one.addresses),
            ):
                stream = await self.open(dialer, peer, addresses)
                assert stream.peer == peer, "the returned stream's peer is the peer that was asked for"
                await finish(stream, b"both ways", self.patience)

    async def test_after_cancelling_serve_nobody_is_answered_until_it_serves_again(self, make: MakeTransport) -> None:
        async with make(1, listen=True) as server, make(2, listen=False) as client, tasks() as group:
            for _ in range(2):
                serving = await self.start_serving(group, server, ECHO, echo)
                stream = await self.open(client, self.identity(1), server.addresses)
                await finish(stream, b"served", self.patience)
                await self.stop_serving(serving)
                with (
                    within(self.patience, "what is not served is refused, not waited for"),
                    raises(DialFailed, "serve answers until it is cancelled, and no longer"),
                ):
                    await client.open_stream(self.identity(1), server.addresses, ECHO)

    async def test_a_closed_transport_is_not_reached_any_more(self, make: MakeTransport) -> None:
        async with make(2, listen=False) as client, tasks() as group:
            async with make(1, listen=True) as server:

                async def serve(*, task_status: TaskStatus[None]) -> None:
                    # What becomes of serving once the transport is closed is left open.
                    with suppress(TransportError):
                        await server.serve(ECHO, echo, task_status=task_status)

                with within(self.patience, "serve says started()"):
                    await group.start(serve)
                addresses: Sequence[str] = list(server.addresses)
                stream = await self.open(client, self.identity(1), addresses)
                await stream.send(b"x")
                with within(self.patience, "an echo comes back"):
                    assert await stream.receive() == b"x", "an echo comes back"
            with within(self.patience, "a stream whose connection is gone does not hang"):
                try:
                    while await stream.receive():
                        pass
                except StreamBroken:
                    pass
            with (
                within(self.patience, "each address gets a deadline"),
                raises(DialFailed, "a transport listens for as long as it is open, and no longer"),
            ):
                await client.open_stream(self.identity(1), addresses, ECHO)
            with within(self.patience, "reset and aclose come to an end after the connection is gone"):
                await stream.reset()
                await stream.aclose()

    async def test_the_way_to_a_connected_peer_has_a_length(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            if not isinstance(bench.client, LatencyProbe):
                pytest.skip("this transport does not tell how far a peer is")
            await bench.stream()
            with within(self.patience, "latency comes to an end"):
                seconds = await bench.client.latency(self.identity(1))
            assert 0 <= seconds < self.patience, f"latency is the seconds of one round trip, not {seconds}"
            with (
                within(self.patience, "latency comes to an end"),
                raises(TransportError, "latency of a peer that is not connected raises TransportError"),
            ):
                await bench.client.latency(self.identity(3))
