"""Which of the providers that are found comes first, and which does not count."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import anyio
import pytest
from plasm_boot.looking import Answered, RankBounds, answering

from plasm.ports import BootTopic, Discovery, Found
from plasm.testing import FakeSigner, StaticDirectory, StaticDiscovery, loopback_only

STABLE = BootTopic("stable", "x86_64")
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


QUICK = RankBounds(rank_seconds=0.5)


def directory(*ports: int) -> list[Discovery]:
    """A discovery that finds a peer for each of `ports`."""
    held = StaticDirectory()
    for number, port in enumerate(ports, 1):
        peer = FakeSigner(number).peer
        addresses = (f"/ip4/127.0.0.1/tcp/4001/p2p/{peer}",)
        held.put(STABLE, Found(peer, addresses, "static", {"http_port": str(port)}))
    return [StaticDiscovery(held, FakeSigner(0).peer)]


async def look(*ports: int, seconds: float = 20, bounds: RankBounds = QUICK) -> list[Answered]:
    return await answering([], directory(*ports), STABLE, allows=loopback_only, seconds=seconds, bounds=bounds)


async def test_the_fastest_comes_first(serve: Any, published: Any, honest: Any) -> None:
    late = serve(published.today, "late=0.3")
    found = await look(late.port, honest.port)
    assert [each.manifest_url for each in found] == [honest.manifest_url, late.manifest_url]
    assert found[0].seconds < found[1].seconds


async def test_one_without_the_manifest_does_not_count(serve: Any, published: Any, honest: Any) -> None:
    without = serve(published.today, "without=manifest")
    assert [each.provider.base_url for each in await look(without.port, honest.port)] == [honest.base_url]


async def test_where_nobody_answers_in_time_there_is_none() -> None:
    assert await look(seconds=0.1) == []


async def test_the_first_answer_is_not_waited_for_longer_than_others_get_a_chance(
    serve: Any, published: Any, honest: Any
) -> None:
    silent = serve(published.today, "late=30")
    with anyio.fail_after(10):
        assert [each.provider.base_url for each in await look(silent.port, honest.port)] == [honest.base_url]


async def test_providers_that_take_connections_and_say_nothing_give_their_places_away(honest: Any) -> None:
    with contextlib.ExitStack() as stack:
        mute = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)]
        with anyio.fail_after(10):
            bounds = RankBounds(rank_seconds=0, place_seconds=0.05, places=2)
            found = await look(*mute, honest.port, bounds=bounds)
    assert [each.provider.base_url for each in found] == [honest.base_url]
