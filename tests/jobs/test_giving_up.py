"""Who waits for a job hears that it was cancelled, and a job for which nobody waits any longer is cancelled."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from plasm.errors import one_line
from plasm.jobs.attempts import NoNode
from plasm.jobs.conversation import JobCancelled, Submission
from plasm.jobs.manifest import job_id
from plasm.jobs.messages import Accepted, Cancel, Cancelled, Offer, Progress, decode_request
from plasm.jobs.patience import Patience
from plasm.testing import FakeSigner
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, Events, Talk, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio


async def by_the_client(client, standing, identity: str) -> bool:
    return await client.cancel(identity)


async def by_the_operator(client, standing, identity: str) -> bool:
    return await standing.node.worker.cancel(identity, None)


@pytest.mark.parametrize("cancel", [by_the_client, by_the_operator])
async def test_cancelling_ends_the_submit_that_waits_and_asks_no_other_node(world, cancel):
    events, ended = Events(), anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs()}) as first, world.client() as client, anyio.create_task_group() as tasks:

            async def submit() -> None:
                with pytest.raises(JobCancelled) as caught:
                    await client.submit(submission(), name="x", report=events)
                assert one_line(str(caught.value)) == str(caught.value)
                ended.set()

            tasks.start_soon(submit)
            await until(lambda: "running" in events.kinds())
            async with world.node(seed=2) as second:
                (submitted,) = await client.submitted()
                assert await cancel(client, first, submitted.job_id)
                await ended.wait()
                assert second.runtime.calls == []
                assert await second.node.worker.listed() == []
    assert first.runtime.cancelled == 1
    assert {event.node for event in events if event.kind == "sending"} == {first.peer}
    assert "node_failed" not in events.kinds()


async def test_cancelling_a_job_that_waits_its_turn_ends_its_submit_and_asks_no_given_node_after_it(world):
    events, running, ended = Events(), anyio.Event(), anyio.Event()
    scripts = {b"first": hangs(started=running), ECHO: echoes()}
    with anyio.fail_after(10):
        async with (
            world.node(scripts, slots=1) as busy,
            world.node(seed=2) as idle,
            world.client() as client,
            anyio.create_task_group() as tasks,
        ):
            await client.detach(submission(b"first"), name="x", report=ignore, peers=[busy.address])
            await running.wait()
            waiting = submission()

            async def submit() -> None:
                with pytest.raises(JobCancelled):
                    await client.submit(waiting, name="x", report=events, peers=[busy.address, idle.address])
                ended.set()

            tasks.start_soon(submit)
            await until(lambda: "queued" in events.kinds())
            assert await busy.node.worker.cancel(identity_of(waiting, client), None)
            await ended.wait()
            assert idle.runtime.calls == []
            assert await idle.node.worker.listed() == []


async def test_a_job_that_is_cancelled_while_it_is_being_recorded_never_runs(world, monkeypatch):
    home = world.home("node")
    with anyio.fail_after(10):
        async with world.node(home=home) as standing, world.stranger(seed=200) as open_talk:
            submitted, offered, go_on = submission(), anyio.Event(), anyio.Event()
            standing.store.contents[submitted.job.manifest.module_hash] = ECHO
            worker = standing.node.worker
            accept = worker._journal.accept

            async def slowly(*row: object) -> None:
                offered.set()
                await go_on.wait()
                await accept(*row)

            monkeypatch.setattr(worker._journal, "accept", slowly)
            talk, other = await open_talk(standing), await open_talk(standing)
            await talk.send(offer_for(submitted))
            await offered.wait()
            client = FakeSigner(200).peer
            await other.send(Cancel(job_id=job_id(client, submitted.nonce, submitted.job.digest())))
            await anyio.wait_all_tasks_blocked()
            go_on.set()
            assert isinstance(await other.reply(), Cancelled)
            assert isinstance(await talk.reply(), Accepted)
            assert [each.state for each in await worker.listed()] == ["cancelled"]
            assert worker._queue.held == {}
            assert standing.runtime.calls == []


async def test_a_submit_that_is_cancelled_stops_the_run(world):
    events = Events()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs()}) as standing, world.client() as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(client.submit, submission(), name="x", report=events))
                await until(lambda: "running" in events.kinds())
                tasks.cancel_scope.cancel()
            assert standing.runtime.cancelled == 1
            assert [each.state for each in await standing.node.worker.listed()] == ["cancelled"]


async def test_a_submit_that_is_cancelled_stops_the_run_where_a_kept_stream_has_died_meanwhile(world):
    events = Events()
    with anyio.fail_after(10):
        async with (
            world.node({b"hangs": hangs(), ECHO: echoes()}) as standing,
            world.client() as client,
        ):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(client.submit, submission(b"hangs"), name="x", report=events))
                await until(lambda: "running" in events.kinds())
                # The stream of this one is kept.
                await client.submit(submission(), name="x", report=ignore)
                world.network.disconnect(standing.peer)
                await until(lambda: events.kinds().count("accepted") == 2)
                tasks.cancel_scope.cancel()
            assert standing.runtime.cancelled == 1


async def test_a_submit_whose_patience_runs_out_stops_the_run(world, monkeypatch):
    monkeypatch.setattr(Submission, "patience_seconds", 0.3)
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs()}) as standing, world.client() as client:
            with pytest.raises(NoNode, match="no result within"):
                await client.submit(submission(), name="x", report=ignore, peers=[standing.address])
            assert standing.runtime.cancelled == 1
            assert [each.state for each in await standing.node.worker.listed()] == ["cancelled"]


async def test_a_submit_that_is_cancelled_inside_its_transfer_leaves_nothing_on_the_node(world):
    events, module = Events(), bytes(2**20)
    with anyio.fail_after(10):
        async with world.node({module: echoes()}) as standing, world.client() as client:
            never = anyio.Event()

            async def receive_no_module(*args: object) -> None:
                await never.wait()

            standing.store.create = lambda digest, size: _Opened(receive_no_module)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(client.submit, submission(module), name="x", report=events))
                await until(lambda: "accepted" in events.kinds())
                tasks.cancel_scope.cancel()
            assert standing.node.worker._queue.held == {}
            assert standing.node.worker._queue.waiting == 0


class _Opened:
    """A creation in a store whose writer does what `write` does."""

    def __init__(self, write) -> None:
        self.write = write

    async def __aenter__(self) -> _Opened:
        return self

    async def __aexit__(self, *raised: object) -> None:
        return None


async def test_a_node_that_does_not_answer_the_cancel_does_not_hold_the_caller(world):
    events, told = Events(), []
    with anyio.fail_after(10):
        async with world.client(patience=Patience(give_up_seconds=0.2)) as client:

            async def silent(talk: Talk) -> None:
                request = decode_request(await talk.reader.receive())
                if isinstance(request, Offer):
                    await talk.send(Accepted(job_id=identity_of(request, client)), Progress(state="running"))
                else:
                    told.append(request)
                await anyio.sleep_forever()

            async with world.posing(silent, seed=2):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(partial(client.submit, submission(), name="x", report=events))
                    await until(lambda: "running" in events.kinds())
                    began = anyio.current_time()
                    tasks.cancel_scope.cancel()
                assert anyio.current_time() - began < 3
    assert [type(request) for request in told] == [Cancel]


async def test_a_node_that_cannot_be_reached_any_more_does_not_hold_the_caller(world, monkeypatch):
    events, dialed = Events(), anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs()}), world.client(patience=Patience(give_up_seconds=0.2)) as client:

            async def dial(peer, addresses, protocol):
                dialed.set()
                await anyio.sleep_forever()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(client.submit, submission(), name="x", report=events))
                await until(lambda: "running" in events.kinds())
                monkeypatch.setattr(client._connections._transports[0], "open_stream", dial)
                began = anyio.current_time()
                tasks.cancel_scope.cancel()
            assert anyio.current_time() - began < 3
    assert dialed.is_set()


def identity_of(asked: Submission | Offer, client) -> str:
    """The id of a job of `client`."""
    return job_id(client.peer, asked.nonce, asked.job.digest())
