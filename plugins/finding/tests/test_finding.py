"""Which providers a client finds, and what others can do about it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import ObjectSendStream
from plasm_finding import PROTOCOL, BootInfo, finding, serve_boot_info
from plasm_finding.info import encode, read
from plasm_finding.turns import MOST_WAITING, SearchBounds, Turn, Turns

from plasm.ports import BootTopic, Discovery, DiscoveryError, Found, PeerId, Stream, StreamHandler
from plasm.testing import StaticDirectory, StaticDiscovery, loopback_only

pytestmark = pytest.mark.anyio

STABLE = BootTopic("stable", "x86_64")
NEVER = 1e6
"""Seconds that no test has."""
OpenLan = Callable[[], AbstractAsyncContextManager[Any]]
Saying = Callable[[bytes], StreamHandler]


async def test_a_provider_is_asked_for_its_port(open_lan: OpenLan, http_port: int) -> None:
    async with open_lan() as lan, lan.provider(http_port) as provider, lan.looking() as found:
        seen = await found.receive()
    assert (seen.peer, seen.base_url, seen.source) == (provider.peer, f"http://127.0.0.1:{http_port}/", "static")
    assert seen.seconds is not None
    assert seen.seconds >= 0


async def test_a_port_that_came_with_the_announcement_is_not_asked_for(open_lan: OpenLan, http_port: int) -> None:
    async with open_lan() as lan, lan.peer() as silent:
        lan.announce(silent, http_port=str(http_port))
        async with lan.looking() as found:
            assert (await found.receive()).base_url == f"http://127.0.0.1:{http_port}/"


@pytest.mark.parametrize("said", ["0", "65536", "-1", "8e1", "٣", "80 ", "http://127.0.0.1", ""])
async def test_an_announced_port_that_is_none_is_not_believed(open_lan: OpenLan, http_port: int, said: str) -> None:
    async with open_lan() as lan, lan.provider(http_port) as provider:
        lan.announce(provider, http_port=said)
        async with lan.looking() as found:
            assert (await found.receive()).base_url == f"http://127.0.0.1:{http_port}/"


async def test_a_provider_of_other_channels_is_passed_over(open_lan: OpenLan, http_port: int) -> None:
    async with (
        open_lan() as lan,
        lan.provider(http_port, [("testing", "x86_64"), ("stable", "arm64")]),
        lan.provider(http_port) as right,
        lan.looking() as found,
    ):
        assert (await found.receive()).peer == right.peer


async def test_the_host_is_the_first_of_the_peers_addresses_that_takes_a_connection(
    open_lan: OpenLan, http_port: int
) -> None:
    async with open_lan() as lan, lan.provider(http_port) as provider:
        lan.announce(provider, hosts=("/ip4/127.0.0.2", "/ip4/127.0.0.1"))
        async with lan.looking() as found:
            assert (await found.receive()).base_url == f"http://127.0.0.1:{http_port}/"


async def test_addresses_outside_the_filter_are_not_connected_to(open_lan: OpenLan) -> None:
    def all_but_one(ip: str) -> bool:
        return loopback_only(ip) and ip != "127.0.0.1"

    with socket.create_server(("127.0.0.1", 0)) as refused:
        port = refused.getsockname()[1]
        with socket.create_server(("127.0.0.2", port)):
            async with open_lan() as lan, lan.peer() as provider:
                lan.announce(provider, hosts=("/ip4/127.0.0.1", "/ip4/127.0.0.2"), http_port=str(port))
                async with lan.looking(allows=all_but_one) as found:
                    assert (await found.receive()).base_url == f"http://127.0.0.2:{port}/"
        refused.setblocking(False)
        with pytest.raises(BlockingIOError):
            refused.accept()


async def test_a_provider_comes_again_with_another_url(open_lan: OpenLan, http_port: int) -> None:
    async with open_lan() as lan, lan.peer() as provider:
        lan.announce(provider, http_port=str(http_port))
        async with lan.looking() as found:
            assert (await found.receive()).base_url == f"http://127.0.0.1:{http_port}/"
            with socket.create_server(("127.0.0.1", 0)) as other:
                port = other.getsockname()[1]
                lan.announce(provider, http_port=str(port))
                assert (await found.receive()).base_url == f"http://127.0.0.1:{port}/"


async def test_a_provider_that_is_found_twice_is_named_once(open_lan: OpenLan, http_port: int) -> None:
    one_at_a_time = SearchBounds(most_looked_at=1)
    async with open_lan() as lan, lan.provider(http_port) as first, lan.provider(http_port) as second:

        class InOrder(StaticDiscovery):
            async def find(self, topic: object, found: ObjectSendStream[Found]) -> None:
                for transport, hosts in ((first, 1), (first, 2), (first, 3), (second, 1)):
                    await found.send(lan.found(transport, hosts=("/ip4/127.0.0.1", "/ip4/127.0.0.9")[:hosts]))
                await anyio.sleep_forever()

        async with lan.looking([InOrder(lan.directory, lan.me.peer)], bounds=one_at_a_time) as found:
            assert [(await found.receive()).peer for _ in range(2)] == [first.peer, second.peer]


async def test_a_provider_that_starts_late_is_looked_at_again(
    open_lan: OpenLan, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_lan() as lan, lan.peer() as provider:
        tried = 0
        original = finding.first_to_answer

        async def counted(hosts: list[str], port: int) -> tuple[str, float] | None:
            nonlocal tried
            tried += 1
            return ("127.0.0.1", 0.0) if tried == 3 else await original(hosts, port)

        monkeypatch.setattr(finding, "first_to_answer", counted)
        lan.announce(provider, http_port=str(closed_port))
        async with lan.looking(bounds=SearchBounds(pauses_seconds=(0.05, 0.05))) as found:
            assert (await found.receive()).peer == provider.peer
    assert tried == 3


# --- hostile peers --------------------------------------------------------------------------------------------------

INFO = encode(BootInfo(http_port=8080, channels=(("stable", "x86_64"),)))


@pytest.mark.parametrize(
    "said",
    [b"", b"\x00", INFO[:-1], b"\xff\xff\xff\xff\xff", b"\x81\x20" + b" " * 4097, b"\x02{}", b"GET / HTTP/1.1\r\n\r\n"],
    ids=lambda said: said[:6].hex(),
)
async def test_a_peer_that_answers_nonsense_costs_nobody_anything(
    open_lan: OpenLan, http_port: int, saying: Saying, said: bytes
) -> None:
    async with (
        open_lan() as lan,
        lan.speaker(saying(said)),
        lan.provider(http_port) as honest,
        lan.looking() as found,
    ):
        assert (await found.receive()).peer == honest.peer


async def sleep(stream: Stream) -> None:
    await anyio.sleep_forever()


async def test_peers_that_never_answer_are_given_up_and_the_next_are_asked(open_lan: OpenLan, http_port: int) -> None:
    bounds = SearchBounds(answer_seconds=0.1, place_seconds=NEVER, places=4)
    async with open_lan() as lan, AsyncExitStack() as stack:
        for _ in range(3 * bounds.places):
            await stack.enter_async_context(lan.speaker(sleep))
        honest = await stack.enter_async_context(lan.provider(http_port))
        async with lan.looking(bounds=bounds) as found:
            assert (await found.receive()).peer == honest.peer


async def test_peers_that_never_answer_give_their_places_away(open_lan: OpenLan, http_port: int) -> None:
    bounds = SearchBounds(answer_seconds=NEVER, ask_seconds=NEVER, place_seconds=0.01, places=4)
    async with open_lan() as lan, AsyncExitStack() as stack:
        for _ in range(3 * bounds.places):
            await stack.enter_async_context(lan.speaker(sleep))
        honest = await stack.enter_async_context(lan.provider(http_port))
        async with lan.looking(bounds=bounds) as found:
            assert (await found.receive()).peer == honest.peer


async def test_a_discovery_full_of_silent_peers_does_not_keep_another_ones_waiting(
    open_lan: OpenLan, http_port: int
) -> None:
    bounds = SearchBounds(answer_seconds=NEVER, ask_seconds=NEVER, place_seconds=NEVER, places=4)
    async with open_lan() as lan, lan.provider(http_port) as honest, AsyncExitStack() as stack:
        flooded = StaticDirectory()
        for _ in range(bounds.places + 2):
            silent = await stack.enter_async_context(lan.speaker(sleep, announced=False))
            flooded.put(STABLE, lan.found(silent))
        discoveries: list[Discovery] = [
            StaticDiscovery(flooded, lan.me.peer),
            StaticDiscovery(lan.directory, lan.me.peer),
        ]
        async with lan.looking(discoveries, bounds=bounds) as found:
            assert (await found.receive()).peer == honest.peer


async def test_a_transport_that_breaks_over_one_peer_costs_that_peer_alone(
    open_lan: OpenLan, http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_lan() as lan, lan.peer() as odd, lan.provider(http_port) as honest:
        dial = lan.me.open_stream

        async def open_stream(peer: PeerId, addresses: Sequence[str], protocol: str) -> Stream:
            if peer == odd.peer:
                raise ZeroDivisionError
            return await dial(peer, addresses, protocol)

        monkeypatch.setattr(lan.me, "open_stream", open_stream)
        lan.announce(odd)
        async with lan.looking() as found:
            assert (await found.receive()).peer == honest.peer


async def test_a_discovery_that_fails_is_told_and_the_others_go_on(
    open_lan: OpenLan, http_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(StaticDiscovery):
        def __init__(self, error: Exception) -> None:
            self._error = error

        async def find(self, topic: object, found: ObjectSendStream[Found]) -> None:
            raise self._error

    caplog.set_level(logging.WARNING, "plasm.finding")
    async with open_lan() as lan, lan.provider(http_port):
        discoveries = [
            Failing(DiscoveryError("no interface takes multicast here")),
            Failing(ZeroDivisionError()),
            StaticDiscovery(lan.directory, lan.me.peer),
        ]
        async with lan.looking(discoveries) as found:
            await found.receive()
    assert "no interface takes multicast here" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_peer_of_which_there_is_always_news_has_one_turn_at_a_time() -> None:
    def found(peer: str, number: int = 0) -> Turn:
        return Turn(Found(PeerId(peer), (str(number),), "static"))

    turns = Turns()
    await turns.put(found("noisy"))
    first = await turns.take()
    for number in range(1000):
        await turns.put(found("noisy", number))
    await turns.put(found("quiet"))
    assert (await turns.take()).found.peer == "quiet"
    turns.done(first)
    assert (await turns.take()).found.addresses == ("999",)


async def test_peers_of_other_networks_and_those_that_did_not_fail_come_first() -> None:
    def turn(peer: str, ip: str, tries: int = 0) -> Turn:
        return Turn(Found(PeerId(peer), (f"/ip4/{ip}/tcp/1",), "static"), tries)

    turns = Turns()
    for each in (
        turn("failed", "203.0.113.1", tries=1),
        *(turn(f"crowd {number}", f"192.0.2.{number}") for number in range(4)),
        turn("other", "198.51.100.1"),
    ):
        await turns.put(each)
    assert [(await turns.take()).found.peer for _ in range(6)] == [
        "crowd 0",
        "other",
        *(f"crowd {number}" for number in range(1, 4)),
        "failed",
    ]


async def test_no_more_peers_are_looked_at_than_that() -> None:
    turns = Turns(SearchBounds(places=2, place_seconds=0.0, most_looked_at=3))
    for number in range(4):
        await turns.put(Turn(Found(PeerId(str(number)), (), "static")))
    taken = [await turns.take() for _ in range(3)]
    with pytest.raises(TimeoutError), anyio.fail_after(0.05):
        await turns.take()
    turns.done(taken[0])
    with anyio.fail_after(5):
        await turns.take()


async def test_whoever_announces_too_many_peers_waits_for_their_turns() -> None:
    turns = Turns()
    for number in range(MOST_WAITING):
        await turns.put(Turn(Found(PeerId(str(number)), (), "static")))
    with pytest.raises(TimeoutError), anyio.fail_after(0.05):
        await turns.put(Turn(Found(PeerId("one more"), (), "static")))
    await turns.take()
    with anyio.fail_after(5):
        await turns.put(Turn(Found(PeerId("one more"), (), "static")))


# --- the provider's end ---------------------------------------------------------------------------------------------


async def test_a_provider_says_what_holds_at_that_moment(open_lan: OpenLan, http_port: int) -> None:
    channels = [("stable", "x86_64")]
    async with open_lan() as lan, lan.peer() as provider, anyio.create_task_group() as tasks:
        await tasks.start(
            partial(serve_boot_info, provider, lambda: BootInfo(http_port=http_port, channels=tuple(channels)))
        )
        for _ in range(2):
            stream = await lan.me.open_stream(provider.peer, provider.addresses, PROTOCOL)
            with anyio.fail_after(5):
                assert (await read(stream.receive)).channels == tuple(channels)
                assert await stream.receive() == b""
            channels.append(("testing", "x86_64"))
        tasks.cancel_scope.cancel()


async def test_a_client_that_only_talks_is_answered_and_not_listened_to(open_lan: OpenLan, http_port: int) -> None:
    async with open_lan() as lan, lan.provider(http_port) as provider:
        stream = await lan.me.open_stream(provider.peer, provider.addresses, PROTOCOL)
        with anyio.fail_after(5):
            assert (await read(stream.receive)).http_port == http_port
