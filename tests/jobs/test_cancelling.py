"""Cancelling reaches the job wherever it is, and nobody's job but one's own."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.conversation import JobCancelled
from plasm.jobs.messages import Accepted, Cancel, Cancelled, Failed, Piece, Progress, Result
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio


async def test_cancelling_a_running_job_stops_its_run(world):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(started=running)}) as standing, world.client() as client:
            detached = await client.detach(submission(), name="x", report=ignore)
            await running.wait()
            assert await client.cancel(detached.job_id)
            assert standing.runtime.cancelled == 1
            with pytest.raises(JobCancelled):
                await client.result(detached.job_id, wait=True, report=ignore)


async def test_cancelling_a_waiting_job_means_that_it_never_runs(world):
    running, release = anyio.Event(), anyio.Event()
    scripts = {b"first": hangs(until=release, started=running), ECHO: echoes()}
    with anyio.fail_after(10):
        async with world.node(scripts, slots=1) as standing, world.client() as client:
            first = await client.detach(submission(b"first"), name="x", report=ignore)
            await running.wait()
            waiting = await client.detach(submission(), name="x", report=ignore)
            assert await client.cancel(waiting.job_id)
            release.set()
            await client.result(first.job_id, wait=True, report=ignore)
            last = await client.submit(submission(args=["last"]), name="x", report=ignore)
    assert [call.args for call in standing.runtime.calls] == [(), ("last",)]
    assert last.node == standing.peer


async def test_a_slot_that_falls_free_while_a_job_is_cancelled_does_not_run_it(world, monkeypatch):
    running, release = anyio.Event(), anyio.Event()
    scripts = {b"first": hangs(until=release, started=running), ECHO: echoes()}
    with anyio.fail_after(10):
        async with world.node(scripts, slots=1) as standing, world.client() as client:
            first = await client.detach(submission(b"first"), name="x", report=ignore)
            await running.wait()
            waiting = await client.detach(submission(), name="x", report=ignore)
            worker = standing.node.worker
            ended = worker._journal.ended

            async def slowly(job_id, ending) -> None:
                if job_id == waiting.job_id:
                    release.set()
                    await until(lambda: worker._queue.get(first.job_id) is None)
                    await anyio.wait_all_tasks_blocked()
                await ended(job_id, ending)

            monkeypatch.setattr(worker._journal, "ended", slowly)
            assert await client.cancel(waiting.job_id)
            last = await client.submit(submission(args=["last"]), name="x", report=ignore)
            states = {each.id: each.state for each in await worker.listed()}
    assert [call.args for call in standing.runtime.calls] == [(), ("last",)]
    assert states[waiting.job_id] == "cancelled"
    assert last.node == standing.peer


async def test_cancelling_a_job_in_transfer_means_that_it_never_runs(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talk, other = await open_talk(standing), await open_talk(standing)
            await talk.send(offer_for(submission()))
            accepted = await talk.reply()
            await other.send(Cancel(job_id=accepted.job_id))
            assert isinstance(await other.reply(), Cancelled)
            await talk.send(Piece(data=ECHO))
            while isinstance(reply := await talk.reply(), Progress):
                pass
    assert isinstance(reply, Failed)
    assert reply.reason == "Cancelled"
    assert standing.runtime.calls == []


async def test_the_slot_of_a_cancelled_job_is_free_for_the_next_one(world):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with (
            world.node({b"hangs": hangs(started=running), ECHO: echoes()}, slots=1, max_per_peer=1) as standing,
            world.client() as client,
        ):
            detached = await client.detach(submission(b"hangs"), name="x", report=ignore)
            await running.wait()
            await client.cancel(detached.job_id)
            await client.submit(submission(), name="x", report=ignore)
            assert standing.node.worker._queue.held == {}


async def test_what_has_ended_cannot_be_cancelled(world):
    with anyio.fail_after(10):
        async with world.node(), world.client() as client:
            delivered = await client.submit(submission(), name="x", report=ignore)
            assert not await client.cancel(delivered.job_id)
            assert (await client.result(delivered.job_id, wait=False, report=ignore)).receipt == delivered.receipt


async def test_the_job_of_another_client_cannot_be_cancelled(world):
    running, release = anyio.Event(), anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(until=release, started=running)}) as standing, world.client() as client:
            detached = await client.detach(submission(), name="x", report=ignore)
            await running.wait()
            async with world.stranger() as open_talk:
                talk = await open_talk(standing)
                await talk.send(Cancel(job_id=detached.job_id))
                reply = await talk.reply()
                assert isinstance(reply, Failed)
                assert reply.reason == "UnknownJob"
            release.set()
            await client.result(detached.job_id, wait=True, report=ignore)
    assert standing.runtime.cancelled == 0


async def test_a_job_that_was_cancelled_runs_again_only_under_another_nonce(world):
    running, release = anyio.Event(), anyio.Event()
    submitted = submission()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(until=release, started=running)}) as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.send(offer_for(submitted))
            accepted = await talk.reply()
            await talk.send(Piece(data=ECHO))
            await running.wait()
            other = await open_talk(standing)
            await other.send(Cancel(job_id=accepted.job_id))
            await other.reply()
            release.set()
            endings = []
            for offered in (submitted, submission()):
                again = await open_talk(standing)
                await again.send(offer_for(offered))
                assert isinstance(await again.reply(), Accepted)
                while isinstance(reply := await again.reply(), Progress):
                    pass
                endings.append(reply)
    assert isinstance(endings[0], Failed)
    assert endings[0].reason == "Cancelled"
    assert isinstance(endings[1], Result)
    assert len(standing.runtime.calls) == 2
