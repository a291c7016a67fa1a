"""Compiling holds no run slot, and a module that cannot be prepared is answered once and turned down from then on."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.journal import open_journal
from plasm.jobs.messages import Accepted, Cancel, Cancelled, Failed, Fetch, Piece, Progress, Rejected, Result
from plasm.jobs.records import OWN
from plasm.jobs.turns import OriginTurns
from plasm.jobs.unprepared import MODULES, NOT_PREPARED_SECONDS, Unprepared
from plasm.ports import Digest, NotPrepared, NotRunnable
from plasm.shares import origin_of
from plasm.testing import FakeSigner, ScriptedRuntime
from plasm.testing.fakes.scripts import echoes
from tests.jobs.world import ECHO, Standing, Talk, offer_for, sha256, submission, until

pytestmark = pytest.mark.anyio

BOMBS = [b"takes for ever to compile %d" % number for number in range(6)]


class Compiling(ScriptedRuntime):
    """Compiles the bombs for as long as it is not told `go_on`, and raises `error` then."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__({ECHO: echoes(), **{bomb: echoes() for bomb in BOMBS}})
        self.error = error
        self.go_on = anyio.Event()
        self.tried: list[bytes] = []
        self.at_once = self.most_compiled_at_once = 0

    async def prepare(self, digest: Digest, module: bytes) -> None:
        self.tried.append(module)
        if module in BOMBS:
            self.at_once += 1
            self.most_compiled_at_once = max(self.most_compiled_at_once, self.at_once)
            try:
                await self.go_on.wait()
            finally:
                self.at_once -= 1
            if self.error is not None:
                raise self.error
        await super().prepare(digest, module)


class Narrow(Compiling):
    """Compiles one module at a time."""

    compile_slots = 1


async def send(talk: Talk, module: bytes, **fields: object) -> Accepted | Rejected:
    await talk.send(offer_for(submission(module, **fields)))
    reply = await talk.reply()
    assert isinstance(reply, Accepted | Rejected)
    if isinstance(reply, Accepted) and reply.needs:
        await talk.send(Piece(data=module))
    return reply


async def end(talk: Talk) -> Result | Failed:
    while isinstance(reply := await talk.reply(), Progress):
        pass
    assert isinstance(reply, Result | Failed)
    return reply


async def prepared(standing: Standing, runtime: ScriptedRuntime, module: bytes) -> None:
    await runtime.prepare(submission(module).job.manifest.module_hash, module)


async def test_a_job_that_is_ready_passes_those_that_compile(world):
    runtime = Compiling()
    with anyio.fail_after(10):
        async with (
            world.node(runtimes={"scripted": runtime}, slots=1) as standing,
            world.stranger() as open_talk,
            world.stranger(seed=201) as open_other,
        ):
            await prepared(standing, runtime, ECHO)
            for bomb in BOMBS:
                await send(await open_talk(standing), bomb)
            await until(lambda: runtime.at_once == 1)
            other = await open_other(standing)
            await send(other, ECHO, stdin=b"in")
            assert (await end(other)).data == b"in"
            assert runtime.at_once == 1


async def test_each_address_has_one_module_compiled_at_a_time_and_others_have_theirs(world):
    runtime = Compiling()
    with anyio.fail_after(10):
        async with (
            world.node(runtimes={"scripted": runtime}, slots=2, compile_slots=2) as standing,
            world.stranger() as open_talk,
            world.stranger(seed=201) as open_other,
        ):
            for bomb in BOMBS:
                await send(await open_talk(standing), bomb)
            await until(lambda: runtime.at_once == 1)
            other = await open_other(standing)
            # Its module is not compiled yet.
            await send(other, ECHO, stdin=b"in")
            assert (await end(other)).data == b"in"
            assert runtime.most_compiled_at_once == 1
            runtime.go_on.set()
            await until(lambda: len(runtime.prepares) == len(BOMBS) + 1)


async def test_modules_that_take_long_give_way_to_those_that_do_not_even_at_the_same_address(world, monkeypatch):
    monkeypatch.setattr("plasm.jobs.worker.QUICK_COMPILE_SECONDS", 0.01)
    monkeypatch.setattr("plasm.jobs.responder.origin_of", lambda ip, peer: origin_of("192.0.2.1", peer))
    runtime = Compiling()
    with anyio.fail_after(10):
        async with (
            world.node(runtimes={"scripted": runtime}, slots=2, compile_slots=2) as standing,
            world.stranger() as open_talk,
            world.stranger(seed=201) as open_second,
            world.stranger(seed=202) as open_other,
        ):
            await send(await open_talk(standing), BOMBS[0])
            await send(await open_second(standing), BOMBS[1])
            # Each has had its short time, and one of them is being compiled for as long as it takes.
            await until(lambda: len(runtime.tried) >= 3)
            other = await open_other(standing)
            await send(other, ECHO, stdin=b"in")
            assert (await end(other)).data == b"in"
            runtime.go_on.set()
            await until(lambda: set(runtime.prepares) == {sha256(module) for module in (ECHO, *BOMBS[:2])})


async def test_what_waits_for_a_slot_of_its_runtime_has_not_taken_long(world, monkeypatch):
    monkeypatch.setattr("plasm.jobs.worker.QUICK_COMPILE_SECONDS", 0.01)
    runtime = Narrow()
    with anyio.fail_after(10):
        async with (
            world.node(runtimes={"scripted": runtime}, slots=4, compile_slots=4) as standing,
            world.stranger() as open_talk,
            world.stranger(seed=201) as open_other,
        ):
            await send(await open_talk(standing), BOMBS[0])
            # Its short time is over, and it is being compiled for as long as it takes.
            await until(lambda: len(runtime.tried) == 2)
            other = await open_other(standing)
            await send(other, ECHO, stdin=b"in")
            await anyio.wait_all_tasks_blocked()
            assert runtime.tried == [BOMBS[0]] * 2
            runtime.go_on.set()
            assert (await end(other)).data == b"in"
            assert runtime.tried == [BOMBS[0], BOMBS[0], ECHO]


async def test_jobs_of_one_module_wait_for_one_compilation(world):
    runtime = Compiling()
    with anyio.fail_after(10):
        async with (
            world.node(runtimes={"scripted": runtime}, compile_slots=4) as standing,
            world.stranger() as open_talk,
            world.stranger(seed=201) as open_other,
        ):
            talks = [await open_talk(standing), await open_other(standing), await open_other(standing)]
            for number, talk in enumerate(talks):
                await send(talk, BOMBS[0], args=[str(number)])
            await until(lambda: runtime.at_once == 1)
            runtime.go_on.set()
            for talk in talks:
                assert isinstance(await end(talk), Result)
    assert runtime.tried == [BOMBS[0]]


async def test_what_cannot_be_prepared_is_tried_once_answered_as_the_modules_and_turned_down_after_that(world):
    runtime = Compiling(NotPrepared("compiling takes more than 60 s"))
    runtime.go_on.set()
    home = world.home("node")
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}, home=home) as standing, world.stranger() as open_talk:
            talk, again = await open_talk(standing), await open_talk(standing)
            accepted = await send(talk, BOMBS[0])
            failed = await end(talk)
            assert (failed.reason, failed.detail) == ("ModuleNotPrepared", "compiling takes more than 60 s")
            rejected = await send(again, BOMBS[0], args=["again"])
            assert isinstance(rejected, Rejected)
            assert (rejected.reason, rejected.detail) == ("ModuleNotPrepared", "compiling takes more than 60 s")
            await again.send(Fetch(job_id=accepted.job_id))
            assert await end(again) == failed
        assert runtime.tried == [BOMBS[0]]
        async with open_journal(home.folder() / "journal.sqlite") as journal:
            # It is known after a restart too why it failed.
            assert (await journal.ending(accepted.job_id)).reason == "ModuleNotPrepared"


async def test_jobs_that_wait_for_a_module_that_cannot_be_prepared_end_with_it(world):
    runtime = Compiling(NotPrepared("too large"))
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}) as standing, world.stranger() as open_talk:
            talks = [await open_talk(standing) for _ in range(3)]
            for number, talk in enumerate(talks):
                await send(talk, BOMBS[0], args=[str(number)])
            await until(lambda: runtime.at_once == 1)
            runtime.go_on.set()
            assert {(await end(talk)).reason for talk in talks} == {"ModuleNotPrepared"}
    assert runtime.tried == [BOMBS[0]]


async def test_a_job_is_cancelled_while_its_module_is_compiled_and_another_of_it_goes_on(world):
    runtime = Compiling()
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}) as standing, world.stranger() as open_talk:
            first, second, third = [await open_talk(standing) for _ in range(3)]
            accepted = await send(first, BOMBS[0])
            await until(lambda: runtime.at_once == 1)
            await send(second, BOMBS[0], args=["second"])
            await third.send(Cancel(job_id=accepted.job_id))
            assert isinstance(await third.reply(), Cancelled)
            assert (await end(first)).reason == "Cancelled"
            runtime.go_on.set()
            assert isinstance(await end(second), Result)


async def test_a_job_whose_module_was_being_compiled_when_the_node_stopped_goes_on_in_its_next_life(world):
    runtime, home = Compiling(), world.home("node")
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}, home=home) as standing, world.stranger() as open_talk:
            accepted = await send(await open_talk(standing), BOMBS[0])
            await until(lambda: runtime.at_once == 1)
        async with open_journal(home.folder() / "journal.sqlite") as journal:
            # To stop the node is nobody's attempt.
            assert [(each.id, each.state, each.attempts) for each in await journal.unfinished()] == [
                (accepted.job_id, "queued", 0)
            ]


async def test_a_module_that_ran_into_limits_is_tried_again_after_a_while(monkeypatch):
    unprepared, digest = Unprepared(tries=3), Digest("sha256:" + "0" * 64)
    unprepared.failed("scripted", digest, NotPrepared("no"))
    assert unprepared.rejects("scripted", digest) == "no"
    assert unprepared.rejects("other", digest) is None
    now = anyio.current_time()
    monkeypatch.setattr("plasm.jobs.unprepared.anyio.current_time", lambda: now + NOT_PREPARED_SECONDS + 1)
    assert unprepared.rejects("scripted", digest) is None


async def test_modules_that_fail_cheaply_drive_out_none_that_ran_into_limits():
    unprepared, bomb = Unprepared(tries=3), Digest("sha256:" + "f" * 64)
    unprepared.failed("scripted", bomb, NotPrepared("no"))
    for number in range(MODULES + 1):
        unprepared.failed("scripted", Digest(f"sha256:{number:064x}"), NotRunnable("no"))
    assert unprepared.refuses("scripted", bomb)


async def test_the_nodes_own_jobs_go_before_those_of_strangers():
    turns: OriginTurns[str] = OriginTurns(OWN.network)
    stranger = origin_of("192.0.2.1", FakeSigner(1).peer)
    for item, origin in (("a", stranger), ("b", stranger), ("own 1", OWN), ("own 2", OWN)):
        turns.push(origin, item)
    assert list(turns) == ["own 1", "own 2", "a", "b"]
    assert [turns.pop() for _ in range(5)] == ["own 1", "own 2", "a", "b", None]
