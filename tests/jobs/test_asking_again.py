"""A client that lost its connection, its patience or its whole process gets the result of what it sent."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.book import Book
from plasm.jobs.client import UnknownJob
from plasm.jobs.conversation import AttemptFailed
from plasm.jobs.messages import Accepted, Failed, Fetch, Piece, Progress, Result
from plasm.testing.fakes.scripts import echoes, exits, hangs
from tests.jobs.world import ECHO, Events, age, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio


async def test_a_connection_lost_while_the_job_runs_costs_nothing_but_a_reconnection(world):
    release, running = anyio.Event(), anyio.Event()
    events = Events()
    with anyio.fail_after(10):
        async with (
            world.node({ECHO: hangs(until=release, started=running)}) as standing,
            world.client() as client,
            anyio.create_task_group() as tasks,
        ):

            async def submit() -> None:
                assert (await client.submit(submission(), name="x", report=events)).node == standing.peer

            tasks.start_soon(submit)
            await running.wait()
            world.network.disconnect(standing.peer)
            await until(lambda: events.kinds().count("accepted") == 2)
            release.set()
    assert "reconnecting" in events.kinds()
    assert "node_failed" not in events.kinds()
    assert len(standing.runtime.calls) == 1


async def test_a_connection_that_is_lost_again_and_again_is_given_up(world):
    running = anyio.Event()
    events = Events()

    def report(event) -> None:
        events(event)
        if event.kind == "accepted":
            world.network.disconnect(event.node)

    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(started=running)}) as standing, world.client() as client:
            with pytest.raises(Exception, match="connection was lost"):
                await client.submit(submission(), name="x", report=report, peers=[standing.address])
    assert events.kinds().count("reconnecting") == 5
    assert len(standing.runtime.calls) <= 1


async def test_the_same_offer_twice_is_one_job(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            submitted = submission(stdin=b"in")
            offer = offer_for(submitted)
            replies = []
            for _ in range(3):
                talk = await open_talk(standing)
                await talk.send(offer)
                accepted = await talk.reply()
                assert isinstance(accepted, Accepted)
                if accepted.needs:
                    await talk.send(Piece(data=submitted.module))
                while isinstance(reply := await talk.reply(), Progress):
                    pass
                replies.append(reply)
    assert len(standing.runtime.calls) == 1
    assert replies[0] == replies[1] == replies[2]


async def test_the_same_offer_on_many_streams_at_once_is_one_job(world):
    submitted = submission(stdin=b"in")
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            standing.store.contents[submitted.job.manifest.module_hash] = ECHO
            receipts = set()

            async def ask() -> None:
                talk = await open_talk(standing)
                await talk.send(offer_for(submitted))
                assert isinstance(await talk.reply(), Accepted)
                while isinstance(reply := await talk.reply(), Progress):
                    pass
                receipts.add(reply.receipt)

            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(ask)
    assert len(standing.runtime.calls) == 1
    assert len(receipts) == 1


async def test_a_transfer_that_broke_off_is_taken_up_by_the_same_offer(world):
    module = ECHO * 40_000
    submitted = submission(module, b"in")
    with anyio.fail_after(10):
        async with (
            world.node({module: echoes()}) as standing,
            world.stranger() as open_talk,
            world.client(seed=200) as client,
        ):
            talk = await open_talk(standing)
            await talk.send(offer_for(submitted))
            assert (await talk.reply()).needs == ("module",)
            await talk.send(Piece(data=module[:100_000]))
            await talk.stream.reset()
            delivered = await client.submit(submitted, name="x", report=ignore, peers=[standing.address])
    assert delivered.stdout == b"in"
    assert len(standing.runtime.calls) == 1


async def test_a_module_that_came_with_anothers_job_meanwhile_is_not_waited_for(world):
    mine, others = submission(stdin=b"mine"), submission(stdin=b"others")
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk, world.client() as other:
            talk = await open_talk(standing)
            await talk.send(offer_for(mine))
            assert (await talk.reply()).needs == ("module",)
            await talk.stream.reset()
            await other.submit(others, name="x", report=ignore, peers=[standing.address])
            again = await open_talk(standing)
            await again.send(offer_for(mine))
            assert (await again.reply()).needs == ()
            while isinstance(reply := await again.reply(), Progress):
                pass
    assert isinstance(reply, Result)
    assert reply.data == b"mine"


async def test_input_that_comes_only_with_the_second_offer_is_the_input(world):
    submitted = submission(stdin=b"the input")
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.send(offer_for(submitted, input=None))
            assert (await talk.reply()).needs == ("module", "input")
            await talk.stream.reset()
            again = await open_talk(standing)
            await again.send(offer_for(submitted))
            assert (await again.reply()).needs == ("module",)
            await again.send(Piece(data=ECHO))
            while isinstance(reply := await again.reply(), Progress):
                pass
    assert reply.data == b"the input"


async def test_a_job_that_is_left_to_run_is_fetched_later(world):
    release, running = anyio.Event(), anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(until=release, started=running)}) as standing, world.client() as client:
            detached = await client.detach(submission(), name="x", report=ignore)
            assert detached.node == standing.peer
            assert detached.keep_seconds > 0
            await running.wait()
            with pytest.raises(AttemptFailed, match="NotFinished"):
                await client.result(detached.job_id, wait=False, report=ignore)
            release.set()
            delivered = await client.result(detached.job_id, wait=True, report=ignore)
            again = await client.result(detached.job_id, wait=False, report=ignore)
    assert delivered.job_id == detached.job_id
    assert delivered.receipt == again.receipt
    assert len(standing.runtime.calls) == 1


async def test_a_job_is_left_only_once_the_node_has_all_of_it(world):
    module = ECHO * 50_000
    with anyio.fail_after(10):
        async with world.node({module: echoes()}) as standing:
            async with world.client() as client:
                detached = await client.detach(submission(module, b"x" * 200_000), name="x", report=ignore)
            await until(lambda: standing.runtime.calls != [])
    assert standing.runtime.calls[0].stdin == b"x" * 200_000
    assert detached.node == standing.peer


async def test_another_process_of_the_same_user_fetches_what_was_left(world):
    with anyio.fail_after(10):
        async with world.node({ECHO: exits(3, stdout=b"later")}):
            async with world.client(book=world.folder / "book") as client:
                detached = await client.detach(submission(), name="hello.wasm", report=ignore)
            async with world.client(book=world.folder / "book") as client:
                assert [each.name for each in await client.submitted()] == ["hello.wasm"]
                delivered = await client.result(detached.job_id, wait=True, report=ignore)
    assert (delivered.stdout, delivered.statement.predicate.exit_code) == (b"later", 3)


async def test_a_job_that_was_never_submitted_from_here_is_unknown(world):
    async with world.client() as client:
        for ask in (
            lambda: client.result("0" * 32, wait=True, report=ignore),
            lambda: client.cancel("../../etc/passwd"),
        ):
            with pytest.raises(UnknownJob) as caught:
                await ask()
            assert str(caught.value).isprintable()


async def test_the_job_of_another_client_is_unknown(world):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(started=running)}) as standing, world.client() as client:
            detached = await client.detach(submission(), name="x", report=ignore)
            await running.wait()
            async with world.stranger() as open_talk:
                talk = await open_talk(standing)
                for wait in (True, False):
                    await talk.send(Fetch(job_id=detached.job_id, wait=wait))
                    reply = await talk.reply()
                    assert isinstance(reply, Failed)
                    assert reply.reason == "UnknownJob"


async def test_the_result_of_another_client_is_unknown(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client, world.stranger() as open_talk:
            delivered = await client.submit(submission(), name="x", report=ignore)
            talk = await open_talk(standing)
            await talk.send(Fetch(job_id=delivered.job_id))
            reply = await talk.reply()
    assert isinstance(reply, Failed)
    assert reply.reason == "UnknownJob"


async def test_a_result_is_kept_as_long_as_promised_and_then_gone(world):
    with anyio.fail_after(10):
        async with world.node(keep_seconds=60) as standing, world.client() as client:
            detached = await client.detach(submission(), name="x", report=ignore)
            assert detached.keep_seconds == 60
            await client.result(detached.job_id, wait=True, report=ignore)
            await standing.node.worker.sweep()
            await client.result(detached.job_id, wait=True, report=ignore)
            age(standing, 61)
            await standing.node.worker.sweep()
            with pytest.raises(AttemptFailed, match="UnknownJob"):
                await client.result(detached.job_id, wait=True, report=ignore)


async def test_results_above_the_bound_are_dropped_oldest_first(world):
    with anyio.fail_after(10):
        async with (
            world.node({ECHO: exits(0, stdout=bytes(10_000))}, max_kept_bytes=30_000) as standing,
            world.client() as client,
        ):
            ids = []
            for number in range(4):
                delivered = await client.submit(submission(args=[str(number)]), name="x", report=ignore)
                ids.append(delivered.job_id)
            await standing.node.worker.sweep()
            with pytest.raises(AttemptFailed, match="UnknownJob"):
                await client.result(ids[0], wait=False, report=ignore)
            assert (await client.result(ids[-1], wait=False, report=ignore)).stdout == bytes(10_000)


async def test_modules_above_the_bound_are_dropped_and_sent_again_when_needed(world):
    modules = [bytes([number]) * 1000 for number in range(4)]
    with anyio.fail_after(10):
        async with (
            world.node({module: exits(0) for module in modules}, max_modules_bytes=2000) as standing,
            world.client() as client,
        ):
            for module in modules:
                await client.submit(submission(module), name="x", report=ignore)
            await standing.node.worker.sweep()
            assert len(standing.store.contents) == 2


async def test_the_module_of_a_job_that_waits_is_never_dropped(world):
    running = anyio.Event()
    first, waiting = b"first" * 200, b"waiting" * 200
    with anyio.fail_after(10):
        async with (
            world.node({first: hangs(started=running), waiting: exits(0)}, slots=1) as standing,
            world.client() as client,
        ):
            await client.detach(submission(first), name="x", report=ignore)
            await running.wait()
            await client.detach(submission(waiting), name="x", report=ignore)
            standing.node.worker._sweeper._max_bytes = 1
            await standing.node.worker.sweep()
            assert len(standing.store.contents) == 2


async def test_a_transfer_that_is_never_finished_is_forgotten(world):
    with anyio.fail_after(10):
        async with world.node(transfer_seconds=5) as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            assert (await talk.reply()).needs == ("module",)
            await talk.stream.reset()
            assert standing.node.worker._queue.waiting == 1
            age(standing, 6)
            await standing.node.worker.sweep()
            assert standing.node.worker._queue.waiting == 0


async def test_a_book_that_cannot_be_written_costs_the_record_and_not_the_job(world, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Book, "_append", full)
    with anyio.fail_after(10):
        async with world.node(), world.client(book=world.folder / "book") as client:
            assert (await client.submit(submission(stdin=b"in"), name="x", report=ignore)).stdout == b"in"


async def test_a_repeated_offer_of_a_job_that_is_done_is_answered_although_the_queue_is_full(world):
    running, beside, submitted = anyio.Event(), anyio.Event(), submission()
    scripts = {b"runs": hangs(started=running), b"beside": hangs(started=beside), b"waits": hangs(), ECHO: echoes()}
    with anyio.fail_after(10):
        async with (
            world.node(scripts, slots=1, max_queue=1) as standing,
            world.client() as client,
        ):
            first = await client.submit(submitted, name="x", report=ignore)
            await client.detach(submission(b"runs"), name="x", report=ignore)
            await running.wait()
            await client.detach(submission(b"beside"), name="x", report=ignore)
            await beside.wait()
            await client.detach(submission(b"waits"), name="x", report=ignore)
            with pytest.raises(NoNode, match="QueueFull"):
                await client.submit(submission(args=["new"]), name="x", report=ignore, peers=[standing.address])
            again = await client.submit(submitted, name="x", report=ignore, peers=[standing.address])
    assert again.receipt == first.receipt
