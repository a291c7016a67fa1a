"""Strangers that are found and say nothing keep no client from the nodes that answer."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.conversation import AttemptFailed, ConnectionLost
from plasm.jobs.messages import Rejected
from plasm.jobs.patience import Patience
from plasm.jobs.preference import Candidates, NoPreference
from plasm.jobs.probing import Probes
from plasm.ports import Found
from plasm.shares import networks_named
from plasm.testing import FakeSigner
from tests.jobs.world import Events, Talk, ignore, submission

pytestmark = pytest.mark.anyio

NEVER = 1e6
"""Seconds that no test has: what is waited for so long is waited for in vain."""


async def silent(found: Found) -> bool:
    await anyio.sleep_forever()
    return True


def found_at(seed: int, *addresses: str) -> Found:
    peer = FakeSigner(seed).peer
    return Found(peer, tuple(f"{address}/p2p/{peer}" for address in addresses), "test")


async def test_a_node_that_answers_is_found_among_many_that_say_nothing(world):
    with anyio.fail_after(10):
        async with AsyncExitStack() as stack:
            for seed in range(50, 90):
                await stack.enter_async_context(world.mute(seed=seed))
            honest = await stack.enter_async_context(world.node(seed=2))
            patience = Patience(description_seconds=NEVER, reach_seconds=NEVER)
            client = await stack.enter_async_context(world.client(patience=patience))
            delivered = await client.submit(submission(), name="x", report=ignore)
            assert delivered.node == honest.peer


async def test_nodes_that_say_nothing_keep_no_other_from_being_described(world):
    with anyio.fail_after(10):
        async with AsyncExitStack() as stack:
            for seed in range(50, 90):
                await stack.enter_async_context(world.mute(seed=seed))
            honest = await stack.enter_async_context(world.node(seed=2))
            patience = Patience(description_seconds=NEVER, reach_seconds=NEVER, places=4, place_seconds=0.01)
            client = await stack.enter_async_context(world.client(patience=patience))
            described = anyio.Event()

            def seen(node) -> None:
                assert node.peer == honest.peer
                described.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.watch_nodes, seen)
                await described.wait()
                tasks.cancel_scope.cancel()


async def test_a_node_that_says_nothing_is_shown_as_such(world):
    with anyio.fail_after(10):
        async with (
            world.mute(seed=50) as mute,
            world.client(patience=Patience(description_seconds=0.05)) as client,
        ):
            seen = await client.describe(mute)
    assert seen.description is None
    assert "no sign of life for 0.05 s" in seen.problem


async def test_a_node_that_takes_offers_and_answers_none_is_given_up_without_being_asked_again(world):
    offers = []

    async def behave(talk: Talk) -> None:
        offers.append(await talk.reader.receive())
        await anyio.sleep_forever()

    events = Events()
    patience = Patience(answer_seconds=NEVER, first_answer_seconds=0.05)
    with anyio.fail_after(10):
        async with (
            world.posing(behave, seed=50) as mute,
            world.node(seed=2) as honest,
            world.client(patience=patience) as client,
        ):
            delivered = await client.submit(
                submission(), name="x", report=events, peers=[*mute.addresses, honest.address]
            )
    assert delivered.node == honest.peer
    assert len(offers) == 1
    assert "reconnecting" not in events.kinds()


async def test_the_failures_of_many_nodes_are_counted_and_not_listed(world):
    with anyio.fail_after(10):
        async with AsyncExitStack() as stack:
            for seed in range(50, 60):
                await stack.enter_async_context(world.mute(seed=seed))
            client = await stack.enter_async_context(world.client(patience=Patience(description_seconds=0.05)))
            with pytest.raises(NoNode, match="10 nodes: no sign of life") as caught:
                await client.submit(submission(), name="x", report=ignore, look_seconds=1)
    assert len(caught.value.failures) == 10
    assert caught.value.silent


async def test_nodes_of_networks_that_were_not_asked_yet_come_first():
    asked = []

    async def ask(found: Found) -> None:
        asked.append(found)
        await anyio.sleep_forever()

    probes = Probes(ask, Patience(places=1, place_seconds=0.001))
    crowd = [found_at(seed, f"/ip4/192.0.2.{seed}/tcp/1") for seed in range(1, 9)]
    other = found_at(20, "/ip4/198.51.100.1/tcp/1")
    for found in (*crowd, other):
        probes.put(found)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(probes.run)
            while len(asked) < 3:  # noqa: ASYNC110 - what is waited for has no event of its own
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
    assert asked[:2] == [crowd[0], other]


def test_a_node_counts_for_every_network_that_it_names_and_all_host_names_are_one():
    named = found_at(1, "/ip4/192.0.2.1/tcp/1", "/ip6/2001:db8::1/tcp/1", "/dns4/a.example/tcp/1")
    other = found_at(2, "/ip4/192.0.2.9/tcp/1", "/ip6/2001:db8:0:9::1/tcp/1", "/dns4/b.example/tcp/1")
    assert networks_named(named.addresses) == networks_named(other.addresses)


async def test_no_more_nodes_are_waited_for_than_that():
    asked = []

    async def ask(found: Found) -> None:
        asked.append(found)
        await anyio.sleep_forever()

    probes = Probes(ask, Patience(places=4, place_seconds=0.0, most_waited_for=5))
    for seed in range(1, 9):
        probes.put(found_at(seed, f"/ip4/192.0.2.{seed}/tcp/1"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(probes.run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert len(asked) == 5


async def test_beyond_the_first_few_nodes_are_asked_with_a_pause_before_each():
    asked = []

    async def ask(found: Found) -> None:
        asked.append(anyio.current_time())
        await anyio.sleep_forever()

    probes = Probes(ask, Patience(places_at_once=3, pause_seconds=0.02))
    for seed in range(1, 7):
        probes.put(found_at(seed, f"/ip4/192.0.2.{seed}/tcp/1"))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(probes.run)
            while len(asked) < 6:  # noqa: ASYNC110 - what is waited for has no event of its own
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked[2:])]
    assert min(pauses) >= 0.019


def test_the_head_start_is_twice_what_the_first_answer_took_within_bounds():
    patience = Patience(head_start_seconds=0.3, least_head_start_seconds=0.05)
    assert [patience.head_start(seconds) for seconds in (0.0, 0.02, 0.1, 0.15, 5.0)] == [0.05, 0.05, 0.2, 0.3, 0.3]


async def test_a_crowd_that_waits_pushes_out_its_own_and_nobody_else():
    async def ask(found: Found) -> None:
        raise AssertionError("nobody is asked here")

    probes = Probes(ask, Patience(), most_waiting=8)
    honest = [found_at(100, "/ip4/198.51.100.1/tcp/1"), found_at(101, "/ip4/203.0.113.1/tcp/1")]
    probes.put(honest[0])
    for seed in range(1, 60):
        probes.put(found_at(seed, f"/ip4/192.0.2.{seed}/tcp/1"))
    probes.put(honest[1])
    assert len(probes.unanswered) == 8
    assert all(found in probes.unanswered for found in honest)


async def test_a_network_whose_nodes_failed_comes_after_the_others():
    crowd = [found_at(seed, f"/ip4/192.0.2.{seed}/tcp/1") for seed in range(1, 4)]
    other = found_at(20, "/ip4/198.51.100.1/tcp/1")

    async def reached(found: Found) -> bool:
        return True

    send, receive = anyio.create_memory_object_stream[Found](8)
    with send, receive, anyio.fail_after(10):
        for found in (*crowd, other):
            send.send_nowait(found)
        candidates = Candidates(receive, NoPreference(), reached)
        first = await candidates.next()
        candidates.failed(first)
        assert first == crowd[0]
        assert await candidates.next() == other


async def test_the_preferred_node_has_a_head_start_and_no_more():
    preferred, quick = found_at(1, "/ip4/192.0.2.1/tcp/1"), found_at(2, "/ip4/198.51.100.1/tcp/1")

    async def reached(found: Found) -> bool:
        return True if found == quick else await silent(found)

    send, receive = anyio.create_memory_object_stream[Found](8)
    with send, receive, anyio.fail_after(10):
        for found in (preferred, quick):
            send.send_nowait(found)
        candidates = Candidates(receive, NoPreference(), reached, Patience(head_start_seconds=0.01))
        assert await candidates.next() == quick


async def test_a_node_that_could_not_prepare_the_module_is_passed_over_without_blame(world):
    blamed = []

    class Noting(NoPreference):
        async def refused(self, peer) -> None:
            blamed.append(peer)

    async def behave(talk: Talk) -> None:
        await talk.reader.receive()
        await talk.send(Rejected(reason="ModuleNotPrepared", detail="60 s were not enough"))

    with anyio.fail_after(10):
        async with world.posing(behave, seed=50), world.client() as client:
            client._preference = Noting()
            with pytest.raises(NoNode, match="ModuleNotPrepared") as caught:
                await client.submit(submission(), name="x", report=ignore, look_seconds=0.3)
            assert caught.value.reason == "ModuleNotPrepared"
            async with world.node(seed=2) as honest:
                assert (await client.submit(submission(), name="x", report=ignore)).node == honest.peer
    assert blamed == []


def test_other_reasons_speak_against_the_node():
    assert AttemptFailed("x", reason="QueueFull").blames_node
    assert ConnectionLost("x").blames_node
    assert not AttemptFailed("x", reason="ModuleNotPrepared").blames_node
