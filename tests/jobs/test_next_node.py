"""Any failure of a node sends the job to the next one, and the reason is kept."""

from __future__ import annotations

import re
from dataclasses import replace

import anyio
import pytest

from plasm.identity import peer_of_address
from plasm.jobs.attempts import InvalidAddress, NoNode
from plasm.ports import DialFailed
from plasm.testing import DictStore, FakeSigner
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, Events, ignore, submission, until

pytestmark = pytest.mark.anyio


async def rejection(world, *, job=None, **settings) -> str:
    with anyio.fail_after(10):
        async with world.node(**settings) as standing, world.client() as client:
            with pytest.raises(NoNode) as caught:
                await client.submit(job or submission(), name="x", report=ignore, peers=[standing.address])
            assert standing.runtime.calls == []
            assert standing.node.worker._queue.held == {}
            assert await standing.node.worker.listed() == []
    ((peer, reason),) = caught.value.failures
    assert peer == standing.peer
    return reason


@pytest.mark.parametrize(
    ("settings", "wanted", "reason"),
    [
        ({"allow": "nobody"}, {}, "NotAllowed"),
        ({"allow": (FakeSigner(7).peer,)}, {}, "NotAllowed"),
        ({"max_memory_mb": 64}, {"memory_mb": 65}, "InsufficientResources.*65 MB of memory asked, 64 at most"),
        ({"max_timeout_seconds": 9}, {"timeout_seconds": 10}, "InsufficientResources"),
        ({"max_module_bytes": 5}, {}, "InsufficientResources"),
        ({"max_output_bytes": 5}, {}, "InsufficientResources"),
        ({"slots": 1}, {"cpu_cores": 2}, "InsufficientResources"),
    ],
)
async def test_a_rejection_says_why_and_leaves_nothing_behind(world, settings, wanted, reason):
    said = await rejection(world, job=submission(**wanted), **settings)
    assert said.startswith("rejected: ")
    assert re.search(reason, said)


@pytest.mark.parametrize(
    ("change", "reason"), [({"arch": "pdp11"}, "ArchMismatch"), ({"runtime": "x"}, "RuntimeNotSupported")]
)
async def test_a_node_that_is_of_another_kind_says_so(world, change, reason):
    assert reason in await rejection(world, job=replace(submission(), **change))


async def test_a_listed_peer_is_served(world):
    client_peer = FakeSigner(100).peer
    with anyio.fail_after(10):
        async with world.node(allow=(client_peer,)), world.client(seed=100) as client:
            await client.submit(submission(), name="x", report=ignore)


async def test_a_client_over_its_quota_is_turned_down_and_another_is_served(world):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with (
            world.node({b"hangs": hangs(started=running), ECHO: echoes()}, slots=2, max_per_peer=1) as standing,
            world.client() as greedy,
            world.client(seed=101) as modest,
        ):
            await greedy.detach(submission(b"hangs"), name="x", report=ignore)
            with pytest.raises(NoNode, match="QuotaExceeded"):
                await greedy.submit(submission(), name="x", report=ignore, peers=[standing.address])
            await modest.submit(submission(), name="x", report=ignore, peers=[standing.address])


async def test_a_full_queue_turns_jobs_down_until_there_is_room(world):
    running, release = anyio.Event(), anyio.Event()
    scripts = {b"hangs": hangs(until=release, started=running), ECHO: echoes()}
    with anyio.fail_after(10):
        async with world.node(scripts, slots=1, max_queue=1) as standing, world.client() as client:
            await client.detach(submission(b"hangs"), name="x", report=ignore)
            await running.wait()
            waiting = await client.detach(submission(), name="x", report=ignore)
            with pytest.raises(NoNode, match="QueueFull"):
                await client.submit(submission(args=["x"]), name="x", report=ignore, peers=[standing.address])
            release.set()
            await client.result(waiting.job_id, wait=True, report=ignore)
            await client.submit(submission(args=["x"]), name="x", report=ignore)


async def test_the_next_node_is_tried_and_it_is_told_why_the_first_failed(world):
    events = Events()
    with anyio.fail_after(10):
        async with world.node(allow="nobody") as first, world.node(seed=2) as second, world.client() as client:
            delivered = await client.submit(submission(), name="x", report=events)
    assert delivered.node == second.peer
    (failed,) = [event for event in events if event.kind == "node_failed"]
    assert failed.node == first.peer
    assert "NotAllowed" in failed.detail


async def test_a_node_that_is_found_while_others_fail_is_tried(world):
    events, outputs = Events(), []
    with anyio.fail_after(10):
        async with world.node(allow="nobody"), world.client() as client, anyio.create_task_group() as tasks:

            async def submit() -> None:
                outputs.append(await client.submit(submission(), name="x", report=events))

            tasks.start_soon(submit)
            await until(lambda: "node_failed" in events.kinds())
            async with world.node(seed=2) as second:
                await until(lambda: outputs != [])
    assert outputs[0].node == second.peer


async def test_where_every_node_fails_each_reason_is_given(world):
    with anyio.fail_after(10):
        async with (
            world.node(allow="nobody") as first,
            world.node(seed=2, max_memory_mb=1) as second,
            world.client() as client,
        ):
            with pytest.raises(NoNode) as caught:
                await client.submit(submission(), name="x", report=ignore, peers=[first.address, second.address])
    reasons = dict(caught.value.failures)
    assert "NotAllowed" in reasons[first.peer]
    assert "InsufficientResources" in reasons[second.peer]
    assert str(caught.value).isprintable()


async def test_a_node_that_cannot_be_dialed_is_passed_over(world):
    with anyio.fail_after(10):
        async with world.node(announced=False) as gone:
            address = gone.address
        async with world.node(seed=2) as there, world.client() as client:
            delivered = await client.submit(submission(), name="x", report=ignore, peers=[address, there.address])
    assert delivered.node == there.peer


async def test_an_address_of_another_identity_is_never_sent_a_job(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client:
            other = standing.address.replace(standing.peer, FakeSigner(9).peer)
            with pytest.raises(NoNode):
                await client.submit(submission(), name="x", report=ignore, peers=[other])
            assert standing.node.worker._queue.held == {}
            assert standing.runtime.calls == []


async def test_a_transport_that_gives_another_identity_is_not_believed(world, monkeypatch):
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client:
            transport = client._connections._transports[0]
            dial = transport.open_stream
            claimed = FakeSigner(9).peer

            async def confused(peer, addresses, protocol):
                return await dial(standing.peer, [standing.address], protocol)

            monkeypatch.setattr(transport, "open_stream", confused)
            with pytest.raises(NoNode, match="another identity answered"):
                await client.submit(submission(), name="x", report=ignore, peers=[f"/memory/1/p2p/{claimed}"])
    assert standing.runtime.calls == []


async def test_two_addresses_of_one_node_are_one_node(world):
    with anyio.fail_after(10):
        async with world.node(allow="nobody") as standing, world.client() as client:
            with pytest.raises(NoNode) as caught:
                await client.submit(
                    submission(), name="x", report=ignore, peers=[standing.address, f"/memory/77/p2p/{standing.peer}"]
                )
    assert len(caught.value.failures) == 1


@pytest.mark.parametrize("address", ["", "x", "/memory/1", "/memory/1/p2p/", "/memory/1/p2p/\x1b[2J", "/p2p/12D3KooW"])
async def test_what_is_no_address_is_refused_in_one_line(world, address):
    async with world.client() as client:
        with pytest.raises(InvalidAddress) as caught:
            await client.submit(submission(), name="x", report=ignore, peers=[address])
    assert str(caught.value).isprintable()


async def test_an_address_that_no_transport_understands_fails_that_node(world):
    peer = FakeSigner(9).peer
    async with world.client() as client:
        with pytest.raises(NoNode, match="no transport here understands"):
            await client.submit(submission(), name="x", report=ignore, peers=[f"/carrier-pigeon/p2p/{peer}"])
    assert peer_of_address(f"/carrier-pigeon/p2p/{peer}") == peer


async def test_a_store_that_takes_nothing_more_fails_the_job_here_and_says_so(world):
    events = Events()
    with anyio.fail_after(10):
        async with (
            world.node(stores=[DictStore(max_bytes=5)]) as full,
            world.node(seed=2) as roomy,
            world.client() as client,
        ):
            delivered = await client.submit(submission(), name="x", report=events, peers=[full.address, roomy.address])
    assert delivered.node == roomy.peer
    (failed,) = [event for event in events if event.kind == "node_failed"]
    assert "BadTransfer" in failed.detail


async def test_a_stream_that_was_kept_too_long_is_closed_and_not_used(world, monkeypatch):
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client:
            await client.submit(submission(), name="x", report=ignore)
            monkeypatch.setattr("plasm.jobs.connections._KEPT_SECONDS", 0)
            await client.submit(submission(), name="x", report=ignore)
            await until(lambda: len(standing.transport._streams) == 1)


async def test_streams_that_are_kept_are_bounded_for_each_node(world):
    release = anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(until=release)}, slots=20) as standing, world.client() as client:
            async with anyio.create_task_group() as tasks:

                async def submit(number: int) -> None:
                    await client.submit(submission(args=[str(number)]), name="x", report=ignore)

                for number in range(20):
                    tasks.start_soon(submit, number)
                await until(lambda: len(standing.runtime.calls) == 20)
                release.set()
            await until(lambda: len(standing.transport._streams) == 8)
            await client.aclose()
            await until(lambda: len(standing.transport._streams) == 0)


async def test_dial_problems_of_every_transport_are_told(world, monkeypatch):
    async def refuse(peer, addresses, protocol):
        raise DialFailed("nobody home")

    async with world.client() as client:
        monkeypatch.setattr(client._connections._transports[0], "open_stream", refuse)
        with pytest.raises(NoNode, match="nobody home"):
            await client.submit(submission(), name="x", report=ignore, peers=[f"/memory/1/p2p/{FakeSigner(9).peer}"])
