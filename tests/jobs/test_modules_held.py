"""The modules that accepted jobs need stay, and no more are taken on than fit."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.client import NoNode
from plasm.jobs.sweeping import ModuleSweeper
from plasm.testing import DictStore
from plasm.testing.fakes.scripts import hangs
from tests.jobs.world import ignore, sha256, submission

pytestmark = pytest.mark.anyio


async def test_an_offer_whose_module_does_not_fit_beside_the_others_is_rejected(world):
    running = anyio.Event()
    first, second = b"1" * 1000, b"2" * 1000
    with anyio.fail_after(10):
        async with (
            world.node({first: hangs(started=running), second: hangs()}, max_modules_bytes=1500) as standing,
            world.client() as client,
        ):
            await client.detach(submission(first), name="x", report=ignore)
            await running.wait()
            await client.detach(submission(first, args=["again"]), name="x", report=ignore)
            with pytest.raises(NoNode, match="QueueFull"):
                await client.submit(submission(second), name="x", report=ignore, peers=[standing.address])


async def test_a_module_that_is_needed_since_the_sweep_began_stays():
    modules = [bytes([number]) * 10 for number in range(3)]
    needed = set()

    class Slow(DictStore):
        async def delete(self, digest):
            needed.update(sha256(module) for module in modules if sha256(module) != digest)
            return await super().delete(digest)

    store = Slow()
    for module in modules:
        async with store.create(sha256(module), len(module)) as writer:
            await writer.write(module)
    await ModuleSweeper([store], 0, lambda: needed).sweep()
    assert len(store.contents) == 2
