"""A module that is known by its digest alone: from whichever store has it, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.manifest import sha256
from plasm.ports import Digest, Entry, NotStored, Verdict
from plasm.testing import DictStore
from tests.jobs.world import ECHO, ignore, submission

pytestmark = pytest.mark.anyio


class Elsewhere:
    """A store on a network: it can be read and not written, and counts how often it is."""

    writable = False

    def __init__(self, contents: Sequence[bytes]) -> None:
        self._contents = {sha256(content): content for content in contents}
        self.asked: list[str] = []

    async def has(self, digest: Digest) -> bool:
        self.asked.append("has")
        return digest in self._contents

    async def get(self, digest: Digest, max_bytes: int) -> bytes:
        self.asked.append("get")
        if digest not in self._contents:
            raise NotStored("not here")
        return self._contents[digest]

    async def entries(self) -> AsyncIterator[Entry]:
        for _ in ():
            yield _


def without_module():
    return replace(submission(stdin=b"abc"), module=b"")


async def test_it_is_fetched_from_the_store_that_has_it_and_kept_in_the_first_that_can_be_written(world):
    disk, network = DictStore(), Elsewhere([ECHO])
    with anyio.fail_after(10):
        async with world.node(stores=[disk, network]), world.client() as client:
            result = await client.submit(without_module(), name="x", report=ignore)
            assert (result.statement.predicate.verdict, result.stdout) == (Verdict.EXITED, b"abc")
            assert await disk.get(sha256(ECHO), 10_000) == ECHO


async def test_a_node_that_cannot_have_it_says_so_and_the_next_one_is_asked(world):
    with anyio.fail_after(10):
        async with world.node() as poor, world.client() as client:
            with pytest.raises(NoNode, match="ModuleNotFound") as caught:
                await client.submit(without_module(), name="x", report=ignore, look_seconds=0.2)
            assert "store that has it" in caught.value.mend
            assert poor.node.worker._queue.waiting == 0
            async with world.node(seed=2, stores=[DictStore(), Elsewhere([ECHO])]):
                assert (await client.submit(without_module(), name="x", report=ignore)).stdout == b"abc"


async def test_a_client_that_has_it_sends_it_and_no_network_is_asked(world):
    network = Elsewhere([ECHO])
    with anyio.fail_after(10):
        async with world.node(stores=[DictStore(), network]), world.client() as client:
            assert (await client.submit(submission(stdin=b"abc"), name="x", report=ignore)).stdout == b"abc"
    assert network.asked == []


async def test_a_store_that_takes_nothing_does_not_keep_the_job_from_running(world):
    with anyio.fail_after(10):
        async with world.node(stores=[DictStore(max_bytes=5), Elsewhere([ECHO])]), world.client() as client:
            assert (await client.submit(without_module(), name="x", report=ignore)).stdout == b"abc"


async def test_the_digest_of_nothing_is_a_module_like_any_other_that_cannot_run(world):
    empty = submission(module=b"")
    with anyio.fail_after(10):
        async with world.node(), world.client() as client:
            result = await client.submit(empty, name="x", report=ignore)
            assert result.statement.predicate.verdict is Verdict.NOT_RUNNABLE
