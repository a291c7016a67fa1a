"""Streams are kept for so many nodes and no more: the one that was kept first makes room."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from plasm.jobs import connections as connections_module
from plasm.jobs.connections import Connections
from plasm.ports import Found
from plasm.testing import FakeSigner
from tests.jobs.world import ignore, submission, until

pytestmark = pytest.mark.anyio


async def test_the_node_whose_streams_were_kept_first_makes_room_for_the_newest(world, monkeypatch):
    monkeypatch.setattr(connections_module, "_KEPT_PEERS", 2)
    with anyio.fail_after(10):
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(world.node(seed=seed)) for seed in (1, 2, 3)]
            client = await stack.enter_async_context(world.client())
            for standing in nodes:
                await client.submit(submission(), name="x", report=ignore, peers=[standing.address])
            assert [client._connections.holds(standing.peer) for standing in nodes] == [False, True, True]
            # It is closed and not merely forgotten.
            await until(lambda: [len(standing.transport._streams) for standing in nodes] == [0, 1, 1])


async def test_a_node_that_made_room_is_served_again_over_a_new_stream(world, monkeypatch):
    monkeypatch.setattr(connections_module, "_KEPT_PEERS", 1)
    with anyio.fail_after(10):
        async with world.node() as first, world.node(seed=2) as second, world.client() as client:
            for number, standing in enumerate((first, second, first)):
                delivered = await client.submit(
                    submission(args=[str(number)]), name="x", report=ignore, peers=[standing.address]
                )
                assert delivered.node == standing.peer
            assert [client._connections.holds(standing.peer) for standing in (first, second)] == [True, False]


async def test_a_second_stream_to_a_node_that_is_kept_pushes_nobody_out(world, monkeypatch):
    monkeypatch.setattr(connections_module, "_KEPT_PEERS", 2)
    with anyio.fail_after(10):
        async with world.node() as first, world.node(seed=2) as second, world.client() as client:
            connections = client._connections
            async with connections.conversation(first.found):
                pass
            async with connections.conversation(second.found), connections.conversation(second.found):
                pass
            assert connections.holds(first.peer)
            assert [len(connections._kept[standing.peer]) for standing in (first, second)] == [1, 2]


class Stream:
    """A stream whose reset takes a while."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.open = True

    async def reset(self) -> None:
        await anyio.sleep(0.01)
        self.open = False

    aclose = reset


class Streams:
    """A transport that remembers what it opened."""

    def __init__(self) -> None:
        self.opened: list[Stream] = []

    def understands(self, address: str) -> bool:
        return True

    async def open_stream(self, peer, addresses, protocol) -> Stream:
        self.opened.append(Stream(peer))
        return self.opened[-1]


async def test_conversations_that_end_together_neither_lose_a_stream_nor_exceed_the_bound(monkeypatch):
    monkeypatch.setattr(connections_module, "_KEPT_PEERS", 2)
    transport = Streams()
    connections = Connections([transport])
    peers = [FakeSigner(number).peer for number in range(1, 5)]

    async def converse(peer: str) -> None:
        async with connections.conversation(Found(peer, ("/x",), "test")):
            await anyio.wait_all_tasks_blocked()

    with anyio.fail_after(5):
        for asked in (peers[:2], [*peers[2:], *peers[2:]]):
            async with anyio.create_task_group() as tasks:
                for peer in asked:
                    tasks.start_soon(converse, peer)
        assert len(connections._kept) == 2
        kept = sum(len(entries) for entries in connections._kept.values())
        assert sum(stream.open for stream in transport.opened) == kept
        await connections.aclose()
        assert not any(stream.open for stream in transport.opened)
