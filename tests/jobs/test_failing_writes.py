"""A journal that cannot be written for a moment leaves no job stuck and no quota taken."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.journal import JournalUnusable
from plasm.jobs.messages import Failed, Piece, Result
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, ignore, offer_for, submission

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


async def test_a_cancellation_that_cannot_be_recorded_ends_the_job(world, monkeypatch):
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
            assert worker._queue.get(waits.job_id) is None
            assert worker._queue.waiting == 0
