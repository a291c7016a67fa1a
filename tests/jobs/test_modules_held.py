"""The modules that accepted jobs need stay, and no more are taken on than fit."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.conversation import AttemptFailed
from plasm.jobs.records import FAILED
from plasm.jobs.sweeping import ModuleSweeper
from plasm.testing import DictStore, ScriptedRuntime
from plasm.testing.fakes.scripts import echoes, exits, hangs
from tests.jobs.world import ECHO, ignore, sha256, submission

pytestmark = pytest.mark.anyio


async def test_an_offer_whose_module_does_not_fit_beside_the_others_is_rejected(world):
    running = anyio.Event()
    first, second = b"1" * 100_000, b"2" * 100_000
    with anyio.fail_after(10):
        async with (
            world.node({first: hangs(started=running), second: hangs()}, max_modules_bytes=150_000) as standing,
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


async def test_a_waiting_job_whose_store_dropped_its_module_fails_clearly_and_can_be_offered_again(world):
    compiling, release = anyio.Event(), anyio.Event()

    class Compiling(ScriptedRuntime):
        async def prepare(self, digest, module):
            if module == b"first":
                compiling.set()
                await release.wait()
            await super().prepare(digest, module)

    runtime = Compiling({b"first": exits(0), ECHO: echoes()})
    submitted = submission(stdin=b"input")
    with anyio.fail_after(10):
        async with (
            world.node(runtimes={"scripted": runtime}, compile_slots=1) as standing,
            world.client() as client,
        ):
            await client.detach(submission(b"first"), name="x", report=ignore)
            await compiling.wait()
            waits = await client.detach(submitted, name="x", report=ignore)
            await standing.store.delete(sha256(ECHO))
            release.set()
            with pytest.raises(AttemptFailed, match="no longer stored"):
                await client.result(waits.job_id, wait=True, report=ignore)
            states = {each.id: each.state for each in await standing.node.worker.listed()}
            assert states[waits.job_id] == FAILED
            again = await client.submit(submitted, name="x", report=ignore)
            assert again.job_id == waits.job_id
            assert again.stdout == b"input"
