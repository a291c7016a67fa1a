"""Being stopped is no failure of the job: however often its node is restarted, a job is run until it has ended."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest

from plasm.jobs.execution import MOST_ATTEMPTS
from plasm.jobs.journal import open_journal
from plasm.jobs.messages import Progress, Result
from plasm.jobs.records import CANCELLED, QUEUED, RUNNING, TRANSFERRING, Accepted, Ending
from plasm.ports import Verdict
from plasm.shares import origin_of
from plasm.testing import DictStore, FakeSigner
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio

CLIENT = FakeSigner(200).peer


def accepted(state: str = QUEUED) -> Accepted:
    submitted = submission()
    return Accepted(
        id="0" * 32,
        client=CLIENT,
        origin=origin_of(None, CLIENT),
        nonce=bytes(16),
        job=submitted.job,
        digest=submitted.job.digest(),
        module_size=len(ECHO),
        input_size=0,
        runtime="scripted",
        accepted=1e9,
        state=state,
    )


async def _kept(home) -> list[tuple[str, int]]:
    async with open_journal(home.folder() / "journal.sqlite") as journal:
        return [(each.state, each.attempts) for each in await journal.unfinished()]


async def test_a_long_job_outlives_any_number_of_restarts(world):
    home, store, submitted = world.home("node"), DictStore(), submission(stdin=b"in")
    with anyio.fail_after(20):
        async with world.stranger() as open_talk:
            store.contents[submitted.job.manifest.module_hash] = ECHO
            for life in range(MOST_ATTEMPTS):
                running = anyio.Event()
                async with world.node({ECHO: hangs(started=running)}, home=home, stores=[store]) as standing:
                    if not life:
                        await (await open_talk(standing)).send(offer_for(submitted))
                    await running.wait()
                assert standing.runtime.cancelled == 1
                assert await _kept(home) == [("queued", 0)]
            async with world.node({ECHO: echoes()}, home=home, stores=[store]) as standing:
                talk = await open_talk(standing)
                await talk.send(offer_for(submitted))
                await talk.reply()
                while isinstance(reply := await talk.reply(), Progress):
                    pass
                (listed,) = await standing.node.worker.listed()
    assert isinstance(reply, Result)
    assert reply.data == b"in"
    assert (listed.state, listed.verdict) == ("done", Verdict.EXITED)


async def test_a_stop_takes_back_no_attempt_at_which_the_node_died(world):
    home, store = world.home("node"), DictStore()
    store.contents[submission().job.manifest.module_hash] = ECHO
    async with open_journal(home.folder() / "journal.sqlite") as journal:
        await journal.accept(accepted(), None)
        for _ in range(MOST_ATTEMPTS - 1):
            await journal.started(accepted().id)
    with anyio.fail_after(15):
        for _ in range(2):
            running = anyio.Event()
            async with world.node({ECHO: hangs(started=running)}, home=home, stores=[store]):
                await running.wait()
            assert await _kept(home) == [("queued", MOST_ATTEMPTS - 1)]
        async with open_journal(home.folder() / "journal.sqlite") as journal:
            await journal.started(accepted().id)
        async with world.node({ECHO: echoes()}, home=home, stores=[store]) as standing:
            await until(lambda: standing.node.worker._queue.get(accepted().id) is None)
            (listed,) = await standing.node.worker.listed()
    assert (listed.state, listed.verdict) == ("done", Verdict.CELL_DIED)
    assert standing.runtime.calls == []


async def test_a_stop_in_the_moment_in_which_a_job_starts_counts_as_no_attempt(world, monkeypatch):
    home, store, submitted, starting = world.home("node"), DictStore(), submission(), anyio.Event()
    store.contents[submitted.job.manifest.module_hash] = ECHO
    with anyio.fail_after(15):
        async with AsyncExitStack() as life:
            standing = await life.enter_async_context(world.node({ECHO: hangs()}, home=home, stores=[store]))
            journal = standing.node.worker._journal
            started = journal.started

            async def slowly(job_id: str) -> int:
                attempts = await started(job_id)
                starting.set()
                # Long enough for the stop to come; where it comes later the job is stopped as it hangs.
                await anyio.sleep(0.05)
                return attempts

            monkeypatch.setattr(journal, "started", slowly)
            client = await life.enter_async_context(world.client())
            await client.detach(submitted, name="x", report=ignore)
            await starting.wait()
        assert await _kept(home) == [("queued", 0)]


async def test_a_stop_at_any_moment_after_the_start_leaves_the_attempts_as_they_were(world):
    home, store = world.home("node"), DictStore()
    store.contents[submission().job.manifest.module_hash] = ECHO
    async with open_journal(home.folder() / "journal.sqlite") as journal:
        await journal.accept(accepted(), None)
        await journal.started(accepted().id)
    with anyio.fail_after(15):
        for moments in range(12):
            async with world.node({ECHO: hangs()}, home=home, stores=[store]):
                for _ in range(moments):
                    await anyio.lowlevel.checkpoint()
            assert [attempts for _, attempts in await _kept(home)] == [1]


async def test_a_death_while_a_job_runs_is_counted_and_a_stop_is_not(tmp_path):
    path, job = tmp_path / "journal.sqlite", accepted()
    async with open_journal(path) as journal:
        await journal.accept(job, None)
        assert await journal.started(job.id) == 1
    async with open_journal(path) as journal:
        assert await journal.started(job.id) == 2
        await journal.interrupted(job.id)
        # Said twice it is one stop.
        await journal.interrupted(job.id)
    async with open_journal(path) as journal:
        (kept,) = await journal.unfinished()
        assert (kept.state, kept.attempts) == (QUEUED, 1)
        assert await journal.started(job.id) == 2


async def test_only_a_job_that_runs_can_be_interrupted():
    async with open_journal(None) as journal:
        await journal.accept(accepted(TRANSFERRING), None)
        await journal.interrupted(accepted().id)
        assert [each.state for each in await journal.unfinished()] == [TRANSFERRING]
        await journal.supplied(accepted().id, None)
        await journal.started(accepted().id)
        assert [each.state for each in await journal.unfinished()] == [RUNNING]
        await journal.ended(accepted().id, Ending(state=CANCELLED))
        await journal.interrupted(accepted().id)
        assert await journal.unfinished() == []
        assert (await journal.ending(accepted().id)).state == CANCELLED
