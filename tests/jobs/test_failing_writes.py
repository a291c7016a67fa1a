"""A journal that cannot be written for a moment leaves no job stuck and no quota taken."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.conversation import AttemptFailed
from plasm.jobs.messages import Failed, Piece, Progress, Result
from plasm.jobs.records import CANCELLED, QUEUED, JournalUnusable
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio


def failing_once(monkeypatch, journal, name):
    real = getattr(journal, name)

    async def fail(*args: object) -> None:
        monkeypatch.setattr(journal, name, real)
        raise JournalUnusable("the journal cannot be written: full")

    monkeypatch.setattr(journal, name, fail)


async def test_a_job_whose_arrival_cannot_be_recorded_has_failed_and_can_be_offered_again(world, monkeypatch):
    submitted = submission()
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            failing_once(monkeypatch, standing.node.worker._journal, "supplied")
            for last in (Failed, Result):
                talk = await open_talk(standing)
                await talk.send(offer_for(submitted))
                if "module" in (await talk.reply()).needs:
                    await talk.send(Piece(data=ECHO))
                assert isinstance(await talk.reply(), last)
                assert not standing.node.worker._queue.held


async def test_a_waiting_job_whose_cancellation_cannot_be_recorded_waits_on(world, monkeypatch):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with (
            world.node({b"runs": hangs(started=running), ECHO: echoes()}, slots=1) as standing,
            world.client() as client,
        ):
            worker = standing.node.worker
            await client.detach(submission(b"runs"), name="x", report=ignore)
            await running.wait()
            waits = await client.detach(submission(), name="x", report=ignore)
            failing_once(monkeypatch, worker._journal, "ended")
            with pytest.raises(JournalUnusable):
                await worker.cancel(waits.job_id, None)
            assert {each.id: each.state for each in await worker.listed()}[waits.job_id] == QUEUED
            assert worker._queue.waiting == 1
            assert await worker.cancel(waits.job_id, None)
            assert worker._queue.waiting == 0


async def test_a_client_hears_that_its_cancellation_could_not_be_recorded_and_the_job_runs(world, monkeypatch):
    running, release = anyio.Event(), anyio.Event()
    scripts = {b"runs": hangs(until=release, started=running), ECHO: echoes()}
    with anyio.fail_after(10):
        async with world.node(scripts, slots=1) as standing, world.client() as client:
            worker = standing.node.worker
            await client.detach(submission(b"runs"), name="x", report=ignore)
            await running.wait()
            waits = await client.detach(submission(stdin=b"input"), name="x", report=ignore)
            failing_once(monkeypatch, worker._journal, "ended")
            with pytest.raises(AttemptFailed, match="cannot write its journal"):
                await client.cancel(waits.job_id)
            release.set()
            assert (await client.result(waits.job_id, wait=True, report=ignore)).stdout == b"input"


async def test_a_job_that_a_slot_took_up_while_its_cancellation_failed_runs_once(world, monkeypatch):
    running, release = anyio.Event(), anyio.Event()
    scripts = {b"runs": hangs(until=release, started=running), ECHO: echoes()}
    with anyio.fail_after(10):
        async with world.node(scripts, slots=1) as standing, world.client() as client:
            worker = standing.node.worker
            first = await client.detach(submission(b"runs"), name="x", report=ignore)
            await running.wait()
            waits = await client.detach(submission(args=["waits"]), name="x", report=ignore)
            ended = worker._journal.ended

            async def fail(job_id, ending) -> None:
                if job_id != waits.job_id or ending.state != CANCELLED:
                    await ended(job_id, ending)
                    return
                release.set()
                await until(lambda: worker._queue.get(first.job_id) is None)
                await anyio.wait_all_tasks_blocked()
                raise JournalUnusable("the journal cannot be written: full")

            monkeypatch.setattr(worker._journal, "ended", fail)
            with pytest.raises(JournalUnusable):
                await worker.cancel(waits.job_id, None)
            await client.result(waits.job_id, wait=True, report=ignore)
    assert [call.args for call in standing.runtime.calls] == [(), ("waits",)]


async def test_a_job_that_arrives_whole_while_its_cancellation_fails_runs(world, monkeypatch):
    submitted = submission(stdin=b"input")
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            worker, talk = standing.node.worker, await open_talk(standing)
            await talk.send(offer_for(submitted))
            accepted = await talk.reply()
            tracked = worker._queue.get(accepted.job_id)
            supplied = worker._journal.supplied
            cancelling = anyio.Event()

            async def supplied_late(*args) -> None:
                cancelling.set()
                await until(lambda: tracked.cancelled)
                await supplied(*args)

            async def fail(*args) -> None:
                monkeypatch.undo()
                await until(lambda: tracked.state == QUEUED)
                raise JournalUnusable("the journal cannot be written: full")

            monkeypatch.setattr(worker._journal, "supplied", supplied_late)
            monkeypatch.setattr(worker._journal, "ended", fail)
            await talk.send(Piece(data=ECHO))
            await cancelling.wait()
            with pytest.raises(JournalUnusable):
                await worker.cancel(accepted.job_id, None)
            while isinstance(reply := await talk.reply(), Progress):
                pass
    assert isinstance(reply, Result)
    assert reply.data == b"input"


async def test_cancelling_a_running_job_says_so_where_it_cannot_be_recorded(world, monkeypatch):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(started=running)}) as standing, world.client() as client:
            worker = standing.node.worker
            job = await client.detach(submission(), name="x", report=ignore)
            await running.wait()
            failing_once(monkeypatch, worker._journal, "ended")
            with pytest.raises(JournalUnusable):
                await worker.cancel(job.job_id, None)
            assert standing.runtime.cancelled == 1
            assert not worker._queue.held
