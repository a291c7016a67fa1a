"""A job that ends at once costs one journal entry and one message; one that does not is promised as any other."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs import intake
from plasm.jobs.manifest import job_id
from plasm.jobs.messages import Accepted, Cancel, Cancelled, Failed, Result
from plasm.jobs.records import DONE, QUEUED, RUNNING, JournalUnusable
from plasm.testing import FakeSigner
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio
SLOW = b"a module that waits"


async def _prepared(world, standing, *modules: bytes) -> None:
    for module in modules:
        await standing.runtime.prepare(submission(module).job.manifest.module_hash, module)


def _counting(monkeypatch, journal) -> list[str]:
    written: list[str] = []
    for name in ("accept", "completed", "supplied", "started", "ended"):
        real = getattr(journal, name)

        async def count(*args: object, name: str = name, real=real) -> object:
            written.append(name)
            return await real(*args)

        monkeypatch.setattr(journal, name, count)
    return written


async def test_a_short_job_is_written_to_the_journal_once(world, monkeypatch):
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client:
            await _prepared(world, standing, ECHO)
            written = _counting(monkeypatch, standing.node.worker._journal)
            delivered = await client.submit(submission(stdin=b"in"), name="x", report=ignore)
            assert delivered.stdout == b"in"
            assert written == ["completed"]
            (listed,) = await standing.node.worker.listed()
            assert (listed.id, listed.state, listed.verdict) == (delivered.job_id, DONE, "exited")
            again = await client.result(delivered.job_id, wait=False, report=ignore)
            assert again.receipt == delivered.receipt


async def test_a_short_job_is_answered_in_one_message(world):
    submitted = submission(stdin=b"in")
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            await _prepared(world, standing, ECHO)
            talk = await open_talk(standing)
            await talk.send(offer_for(submitted))
            first = await talk.stream.receive()
            assert len(first) > 1000
            talk.reader._decoder.feed(first)
            assert isinstance(await talk.reply(), Accepted)
            assert isinstance(await talk.reply(), Result)


async def test_a_job_that_takes_longer_is_promised_while_it_runs(world, monkeypatch):
    started, release = anyio.Event(), anyio.Event()
    with anyio.fail_after(10):
        async with (
            world.node({SLOW: hangs(started=started, until=release)}) as standing,
            world.stranger() as open_talk,
        ):
            await _prepared(world, standing, SLOW)
            written = _counting(monkeypatch, standing.node.worker._journal)
            talk = await open_talk(standing)
            await talk.send(offer_for(submission(SLOW)))
            accepted = await talk.reply()
            assert isinstance(accepted, Accepted)
            assert not accepted.needs
            assert written == ["accept"]
            (row,) = await standing.node.worker._journal.unfinished()
            assert (row.id, row.state, row.attempts) == (accepted.job_id, RUNNING, 1)
            release.set()
            await until(lambda: "ended" in written)


async def test_a_job_that_waits_longer_is_promised_while_it_waits(world, monkeypatch):
    release, running = anyio.Event(), anyio.Event()
    scripts = {SLOW: hangs(started=running, until=release), ECHO: echoes()}
    with anyio.fail_after(10):
        async with world.node(scripts, slots=1) as standing, world.client() as client, world.stranger() as open_talk:
            await _prepared(world, standing, SLOW, ECHO)
            await client.detach(submission(SLOW), name="x", report=ignore)
            await running.wait()
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            accepted = await talk.reply()
            states = {row.id: (row.state, row.attempts) for row in await standing.node.worker._journal.unfinished()}
            assert states[accepted.job_id] == (QUEUED, 0)
            release.set()
            while not isinstance(reply := await talk.reply(), Result):
                pass
            assert reply.job_id == accepted.job_id
    assert [call.module for call in standing.runtime.calls].count(submission().job.manifest.module_hash) == 1


@pytest.mark.parametrize("name", ["completed", "accept"])
async def test_what_the_journal_does_not_take_is_promised_to_nobody_and_can_be_offered_again(world, monkeypatch, name):
    release = anyio.Event()
    script = echoes() if name == "completed" else hangs(until=release)
    submitted = submission()

    async def fail(*args: object) -> None:
        raise JournalUnusable("the journal cannot be written: full")

    with anyio.fail_after(10):
        async with world.node({ECHO: script}) as standing, world.stranger() as open_talk:
            await _prepared(world, standing, ECHO)
            talk = await open_talk(standing)
            with monkeypatch.context() as patched:
                patched.setattr(standing.node.worker._journal, name, fail)
                await talk.send(offer_for(submitted))
                reply = await talk.reply()
            assert isinstance(reply, Failed)
            assert reply.reason == "NodeFailed"
            assert not standing.node.worker._queue.held
            await until(lambda: standing.node.worker.describe("x").free == 2)
            release.set()
            await talk.send(offer_for(submitted))
            assert isinstance(await talk.reply(), Accepted)
            while not isinstance(reply := await talk.reply(), Result):
                pass


async def test_a_job_that_ended_in_an_earlier_life_of_the_node_does_not_run_again(world):
    submitted = submission(stdin=b"in")
    home = world.home("node")
    with anyio.fail_after(10):
        receipts = []
        for _ in range(2):
            async with world.node(home=home) as standing, world.stranger() as open_talk:
                await _prepared(world, standing, ECHO)
                talk = await open_talk(standing)
                await talk.send(offer_for(submitted))
                assert isinstance(await talk.reply(), Accepted)
                receipts.append((await talk.reply()).receipt)
    assert receipts[0] == receipts[1]
    assert not standing.runtime.calls


async def test_a_short_job_can_be_cancelled_before_it_is_promised(world, monkeypatch):
    monkeypatch.setattr(intake, "AT_ONCE_SECONDS", 0.2)
    started = anyio.Event()
    submitted = submission()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(started=started)}) as standing, world.stranger() as open_talk:
            await _prepared(world, standing, ECHO)
            talk, other = await open_talk(standing), await open_talk(standing)
            await talk.send(offer_for(submitted))
            await started.wait()
            identity = job_id(FakeSigner(200).peer, submitted.nonce, submitted.job.digest())
            await other.send(Cancel(job_id=identity))
            assert isinstance(await other.reply(), Cancelled)
            assert isinstance(await talk.reply(), Accepted)
            assert (await talk.reply()).reason == "Cancelled"
            assert standing.runtime.cancelled == 1


async def test_a_node_that_goes_before_it_promised_anything_has_nothing_left_to_do(world, monkeypatch):
    monkeypatch.setattr(intake, "AT_ONCE_SECONDS", 30)
    started = anyio.Event()
    home = world.home("node")
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(started=started)}, home=home) as standing, world.stranger() as open_talk:
            await _prepared(world, standing, ECHO)
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            await started.wait()
        async with world.node(home=home) as standing:
            assert await standing.node.worker.listed() == []
            assert not standing.runtime.calls


async def test_draining_waits_for_the_answer_to_a_short_job(world, monkeypatch):
    monkeypatch.setattr(intake, "AT_ONCE_SECONDS", 5)
    started, release = anyio.Event(), anyio.Event()
    order = []
    with anyio.fail_after(10):
        async with (
            world.node({ECHO: hangs(started=started, until=release)}) as standing,
            world.stranger() as open_talk,
        ):
            await _prepared(world, standing, ECHO)
            send = standing.node.responder._send

            async def slowly(*args: object) -> None:
                await anyio.wait_all_tasks_blocked()
                await send(*args)
                order.append("sent")

            async def drain() -> None:
                await standing.node.drain()
                order.append("drained")

            monkeypatch.setattr(standing.node.responder, "_send", slowly)
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            await started.wait()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drain)
                await anyio.wait_all_tasks_blocked()
                release.set()
            assert order == ["sent", "drained"]
            assert isinstance(await talk.reply(), Accepted)
            assert isinstance(await talk.reply(), Result)


async def test_a_job_of_a_client_whose_jobs_are_short_runs_beside_long_ones_that_have_all_slots(world):
    started, release = anyio.Event(), anyio.Event()
    with anyio.fail_after(10):
        async with (
            world.node({SLOW: hangs(started=started, until=release), ECHO: echoes()}, slots=1),
            world.client() as client,
            world.client() as other,
        ):
            await client.submit(submission(stdin=b"first"), name="x", report=ignore)
            await other.detach(submission(SLOW), name="x", report=ignore)
            await started.wait()
            delivered = await client.submit(submission(stdin=b"second"), name="x", report=ignore)
            assert delivered.stdout == b"second"
            release.set()


async def test_no_more_than_one_job_runs_beside_those_that_have_the_slots(world):
    started = [anyio.Event() for _ in range(3)]
    scripts = {b"slow %d" % number: hangs(started=each) for number, each in enumerate(started)}
    with anyio.fail_after(10):
        async with world.node({**scripts, ECHO: echoes()}, slots=1) as standing, world.client() as client:
            await client.submit(submission(), name="x", report=ignore)
            for module, event in zip(scripts, started[:2], strict=False):
                await client.detach(submission(module), name="x", report=ignore)
                await event.wait()
            detached = await client.detach(submission(b"slow 2"), name="x", report=ignore)
            await anyio.wait_all_tasks_blocked()
            assert not started[2].is_set()
            assert detached is not None
            assert standing.node.worker.describe("x").free == 0
