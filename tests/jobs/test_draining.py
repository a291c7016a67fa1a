"""A node that is told to stop takes nothing new, ends what runs, and leaves what waits for its next life."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.journal import open_journal
from plasm.jobs.messages import Describe, Piece, Progress
from plasm.testing import DictStore
from plasm.testing.fakes.scripts import echoes, exits, hangs
from tests.jobs.world import ECHO, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio


async def test_draining_ends_what_runs_turns_down_what_comes_and_leaves_what_waits(world):
    home, running, release = world.home("node"), anyio.Event(), anyio.Event()
    scripts = {b"runs": hangs(until=release, started=running), ECHO: echoes()}
    store = DictStore()
    drained = anyio.Event()
    with anyio.fail_after(15):
        async with world.client() as client:
            async with world.node(scripts, home=home, slots=1, stores=[store]) as standing:
                runs = await client.detach(submission(b"runs"), name="x", report=ignore)
                await running.wait()
                waits = await client.detach(submission(stdin=b"in"), name="x", report=ignore)
                async with anyio.create_task_group() as tasks:

                    async def drain() -> None:
                        await standing.node.drain()
                        drained.set()

                    tasks.start_soon(drain)
                    await until(lambda: standing.node.worker.intake.closed)
                    with pytest.raises(NoNode, match="ShuttingDown"):
                        await client.submit(submission(args=["new"]), name="x", report=ignore, peers=[standing.address])
                    assert not drained.is_set()
                    release.set()
                result = await client.result(runs.job_id, wait=True, report=ignore)
                assert result.node == standing.peer
            assert len(standing.runtime.calls) == 1
            async with open_journal(home.folder() / "journal.sqlite") as journal:
                assert [(each.id, each.state) for each in await journal.unfinished()] == [(waits.job_id, "queued")]
            async with world.node(home=home, stores=[store]) as second:
                await until(lambda: len(second.runtime.calls) == 1)
    assert second.runtime.calls[0].stdin == b"in"


async def test_draining_lasts_no_longer_than_the_settings_allow(world):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(started=running)}, drain_seconds=1) as standing, world.client() as client:
            await client.detach(submission(), name="x", report=ignore)
            await running.wait()
            began = anyio.current_time()
            await standing.node.drain()
            assert 0.9 < anyio.current_time() - began < 3


async def test_a_node_with_nothing_to_do_drains_at_once_and_offers_no_slots(world):
    with anyio.fail_after(2):
        async with world.node() as standing, world.stranger() as open_talk:
            await standing.node.drain()
            talk = await open_talk(standing)
            await talk.send(Describe())
            assert (await talk.reply()).free == 0


async def test_two_that_wait_for_the_drain_both_hear_of_its_end(world):
    running, release = anyio.Event(), anyio.Event()
    with anyio.fail_after(5):
        async with world.node({ECHO: hangs(until=release, started=running)}) as standing, world.client() as client:
            await client.detach(submission(), name="x", report=ignore)
            await running.wait()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(standing.node.worker.drain)
                tasks.start_soon(standing.node.worker.drain)
                await anyio.wait_all_tasks_blocked()
                release.set()


async def test_a_repeated_offer_of_a_job_that_is_done_is_answered_while_draining(world):
    submitted = submission()
    with anyio.fail_after(5):
        async with world.node() as standing, world.client() as client:
            first = await client.submit(submitted, name="x", report=ignore)
            await standing.node.drain()
            again = await client.submit(submitted, name="x", report=ignore, peers=[standing.address])
    assert first.receipt == again.receipt


async def test_draining_waits_until_the_results_of_what_ran_have_been_read(world):
    running, release, drained = anyio.Event(), anyio.Event(), anyio.Event()
    output = bytes(4 * 2**20)
    with anyio.fail_after(15):
        async with world.stranger() as open_talk:

            async def script(run) -> int:
                await hangs(until=release, started=running)(run)
                return await exits(0, stdout=output)(run)

            async with world.node({ECHO: script}) as standing, anyio.create_task_group() as tasks:

                async def drain() -> None:
                    await standing.node.drain()
                    drained.set()

                talk = await open_talk(standing)
                await talk.send(offer_for(submission()))
                assert (await talk.reply()).needs == ("module",)
                await talk.send(Piece(data=ECHO))
                await running.wait()
                tasks.start_soon(drain)
                release.set()
                while isinstance(reply := await talk.reply(), Progress):
                    pass
                await anyio.wait_all_tasks_blocked()
                assert not drained.is_set()
                left = sum(output.size for output in reply.outputs)
                while left:
                    left -= len((await talk.reply()).data)
                await drained.wait()
