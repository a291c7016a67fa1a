"""What a node accepted it finishes, whatever became of the process that accepted it."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from plasm.jobs.conversation import AttemptFailed
from plasm.jobs.journal import open_journal
from plasm.jobs.manifest import job_id
from plasm.jobs.messages import Piece, Progress, Result
from plasm.jobs.outputs import cut
from plasm.jobs.reconnecting import ask_persistently
from plasm.jobs.records import QUEUED, RUNNING, Accepted
from plasm.ports import Verdict
from plasm.shares import origin_of
from plasm.testing import DictStore, ScriptedRuntime
from plasm.testing.fakes.scripts import hangs
from tests.jobs.world import ECHO, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio


async def test_jobs_that_ran_and_waited_when_the_node_went_are_finished_by_the_next(world):
    home, store, running = world.home("node"), DictStore(), anyio.Event()
    with anyio.fail_after(15):
        async with world.client() as client:
            async with world.node({ECHO: hangs(started=running)}, home=home, stores=[store], slots=1):
                jobs = [
                    await client.detach(submission(stdin=bytes([number]) * size), name="x", report=ignore)
                    for number, size in enumerate((1, 10, 100_000))
                ]
                await running.wait()
            async with world.node(home=home, stores=[store]) as standing:
                results = [
                    await ask_persistently(
                        client._connections,
                        lambda conversation, job=job: _fetched(conversation, job.job_id),
                        standing.found,
                        ignore,
                    )
                    for job in jobs
                ]
    assert results == [bytes([number]) * size for number, size in enumerate((1, 10, 100_000))]


async def _fetched(conversation, job_id: str) -> bytes:
    await conversation.fetch(job_id, wait=True)
    while isinstance(reply := await conversation._receive(), Progress):
        pass
    assert isinstance(reply, Result)
    data = reply.data
    if data is None:
        data = await conversation._pieces(sum(output.size for output in reply.outputs))
    return cut(reply.outputs, data)["stdout"]


async def test_a_client_that_waits_gets_its_result_from_the_next_life_of_the_node(world, monkeypatch):
    # Slow enough for the node to be back, quick enough for the test.
    monkeypatch.setattr("plasm.jobs.reconnecting._RECONNECT_FIRST_SECONDS", 0.1)
    home, store, running = world.home("node"), DictStore(), anyio.Event()
    submitted = submission(stdin=b"in")
    outputs = []
    with anyio.fail_after(15):
        async with world.client() as client, anyio.create_task_group() as tasks:
            async with world.node({ECHO: hangs(started=running)}, home=home, stores=[store], seed=1) as first:

                async def submit() -> None:
                    outputs.append(
                        await client.submit(submitted, name="x", report=ignore, peers=[first.address, second_address])
                    )

                # The memory network numbers its transports as they come: the next one is this node again.
                number = int(first.address.split("/")[2])
                second_address = first.address.replace(f"/memory/{number}/", f"/memory/{number + 1}/")
                tasks.start_soon(submit)
                await running.wait()
            async with world.node(home=home, stores=[store]) as second:
                assert second.address == second_address
                await until(lambda: outputs != [])
    assert outputs[0].stdout == b"in"
    assert len(second.runtime.calls) == 1


async def test_a_result_survives_the_node(world):
    home = world.home("node")
    with anyio.fail_after(15):
        async with world.client() as client:
            async with world.node(home=home):
                delivered = await client.submit(submission(stdin=b"in"), name="x", report=ignore)
            async with world.node({}, home=home) as standing:
                out = await ask_persistently(
                    client._connections,
                    lambda conversation: _fetched(conversation, delivered.job_id),
                    standing.found,
                    ignore,
                )
    assert out == b"in"
    assert standing.runtime.calls == []


async def test_a_transfer_that_the_restart_cut_off_is_taken_up_by_the_same_offer(world):
    home, submitted = world.home("node"), submission(stdin=b"in")
    with anyio.fail_after(15):
        async with world.node(home=home) as first, world.stranger() as open_talk:
            talk = await open_talk(first)
            await talk.send(offer_for(submitted))
            assert (await talk.reply()).needs == ("module",)
        async with world.node(home=home) as second, world.stranger() as open_talk:
            talk = await open_talk(second)
            await talk.send(offer_for(submitted))
            assert (await talk.reply()).needs == ("module",)
            await talk.send(Piece(data=ECHO))
            while isinstance(reply := await talk.reply(), Progress):
                pass
    assert reply.data == b"in"


async def _ran_at_the_death_of(home, times: int, client) -> str:
    submitted = submission()
    job = Accepted(
        id=job_id(client.peer, submitted.nonce, submitted.job.digest()),
        client=client.peer,
        origin=origin_of(None, client.peer),
        nonce=submitted.nonce,
        job=submitted.job,
        digest=submitted.job.digest(),
        module_size=len(ECHO),
        input_size=0,
        runtime="scripted",
        accepted=1e9,
        state=QUEUED,
    )
    async with open_journal(home.folder() / "journal.sqlite") as journal:
        await journal.accept(job, None)
        for _ in range(times):
            await journal.started(job.id)
        assert await journal.unfinished() == [replace(job, state=RUNNING if times else QUEUED, attempts=times)]
    return job.id


@pytest.mark.parametrize(("deaths", "runs", "verdict"), [(2, 1, Verdict.EXITED), (3, 0, Verdict.CELL_DIED)])
async def test_a_job_that_ran_at_three_deaths_of_the_node_is_given_up(world, deaths, runs, verdict):
    home, store = world.home("node"), DictStore()
    with anyio.fail_after(15):
        async with world.client() as client:
            identity = await _ran_at_the_death_of(home, deaths, client)
            store.contents[submission().job.manifest.module_hash] = ECHO
            async with world.node(home=home, stores=[store]) as standing:
                worker = standing.node.worker
                await until(lambda: worker._queue.get(identity) is None)
                (listed,) = await worker.listed()
    assert (listed.state, listed.verdict) == ("done", verdict)
    assert len(standing.runtime.calls) == runs


async def test_a_job_whose_runtime_is_gone_after_the_restart_fails_and_says_so(world):
    home, store = world.home("node"), DictStore()
    with anyio.fail_after(15):
        async with world.client() as client:
            identity = await _ran_at_the_death_of(home, 0, client)
            async with world.node(home=home, stores=[store], runtimes={"other": ScriptedRuntime({})}) as standing:
                await until(lambda: standing.node.worker._queue.get(identity) is None)

                async def ask(conversation):
                    await conversation.fetch(identity, wait=True)
                    await conversation._receive()

                with pytest.raises(AttemptFailed, match="scripted is no longer here"):
                    await ask_persistently(client._connections, ask, standing.found, ignore)
