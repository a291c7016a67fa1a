"""A module that could not be prepared costs no second compilation."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.unprepared import FAILED_SECONDS, MODULES, Unprepared
from plasm.ports import Digest, Invocation, NotPrepared, NotRunnable, Outcome, RuntimeFailed, Verdict
from plasm.testing import ScriptedRuntime
from plasm.testing.fakes.scripts import echoes
from tests.jobs.world import ECHO, ignore, sha256, submission

pytestmark = pytest.mark.anyio

BOMB = b"takes for ever to compile"


class Compiling(ScriptedRuntime):
    """Counts what it is to prepare; raises `error` for the bomb."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__({ECHO: echoes(), BOMB: echoes()})
        self.error = error
        self.tried: list[bytes] = []

    async def prepare(self, digest: Digest, module: bytes) -> None:
        self.tried.append(module)
        if module == BOMB and self.error is not None:
            raise self.error
        await super().prepare(digest, module)


async def test_a_module_that_is_not_runnable_is_compiled_once_whoever_offers_it(world):
    runtime = Compiling(NotRunnable("it has no _start"))
    with anyio.fail_after(10):
        async with (
            world.node(runtimes={"scripted": runtime}),
            world.client() as client,
            world.client(seed=101) as other,
        ):
            ends = [await each.submit(submission(BOMB), name="x", report=ignore) for each in (client, other, client)]
            await client.submit(submission(), name="x", report=ignore)
    assert {end.statement.predicate.verdict for end in ends} == {Verdict.NOT_RUNNABLE}
    assert {end.detail for end in ends} == {"it has no _start"}
    assert runtime.tried == [BOMB, ECHO]


async def test_a_module_that_runs_into_the_limits_of_compiling_is_not_compiled_for_each_job(world):
    runtime = Compiling(RuntimeFailed("compiling the module takes more than 60 s"))
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}) as standing, world.client() as client:
            for _ in range(3):
                with pytest.raises(NoNode, match="takes more than 60 s"):
                    await client.submit(submission(BOMB), name="x", report=ignore, peers=[standing.address])
            assert runtime.tried == [BOMB] * 3
            await client.submit(submission(), name="x", report=ignore)


async def test_a_module_that_cannot_be_prepared_here_is_answered_at_once_and_never_by_a_receipt(world, caplog):
    runtime = Compiling(NotPrepared("compiling the module takes more than 20 s"))
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}) as standing, world.client() as client:
            with pytest.raises(NoNode, match="takes more than 20 s"):
                await client.submit(submission(BOMB), name="x", report=ignore, peers=[standing.address])
            assert runtime.tried == [BOMB], "whether to try again is the runtime's to know"
            await client.submit(submission(), name="x", report=ignore)
    assert not caplog.records


async def test_after_some_minutes_a_module_that_ran_into_the_limits_is_tried_again(world, monkeypatch):
    runtime = Compiling(RuntimeFailed("no process could be started"))
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}) as standing, world.client() as client:
            with pytest.raises(NoNode):
                await client.submit(submission(BOMB), name="x", report=ignore, peers=[standing.address])
            runtime.error = None
            now = anyio.current_time()
            monkeypatch.setattr("plasm.jobs.unprepared.anyio.current_time", lambda: now + FAILED_SECONDS + 10)
            refused = standing.node.worker._executor._unprepared.refuses("scripted", sha256(BOMB))
            monkeypatch.undo()
            assert not refused
            await client.submit(submission(BOMB), name="x", report=ignore)


async def test_as_many_failures_are_remembered_as_the_bound_says():
    unprepared = Unprepared(tries=1)
    digests = [Digest(f"sha256:{number:064x}") for number in range(MODULES + 1)]
    for digest in digests:
        unprepared.failed("scripted", digest, NotRunnable("no"))
    assert not unprepared.refuses("scripted", digests[0])
    assert all(unprepared.refuses("scripted", digest) for digest in digests[1:])


async def test_what_one_runtime_refuses_another_may_take():
    unprepared = Unprepared(tries=1)
    digest = Digest("sha256:" + "0" * 64)
    unprepared.failed("scripted", digest, NotRunnable("no"))
    unprepared.check("other", digest)
    with pytest.raises(NotRunnable, match="no"):
        unprepared.check("scripted", digest)


async def test_a_success_in_between_starts_the_count_anew():
    unprepared = Unprepared(tries=2)
    digest = Digest("sha256:" + "0" * 64)
    unprepared.failed("scripted", digest, RuntimeFailed("no"))
    unprepared.prepared("scripted", digest)
    unprepared.failed("scripted", digest, RuntimeFailed("no"))
    unprepared.check("scripted", digest)


class Forgetting(ScriptedRuntime):
    """Has dropped the module when it is to run, as often as `drops` says."""

    def __init__(self, drops: int) -> None:
        super().__init__({ECHO: echoes()})
        self.drops = drops

    async def run(self, invocation: Invocation) -> Outcome:
        if self.drops:
            self.drops -= 1
            self._prepared.clear()
            raise KeyError(invocation.module)
        return await super().run(invocation)


async def test_a_module_that_a_cache_dropped_is_prepared_again_and_that_is_no_failure(world, caplog):
    runtime = Forgetting(1)
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}), world.client() as client:
            delivered = await client.submit(submission(stdin=b"in"), name="x", report=ignore)
    assert delivered.stdout == b"in"
    assert len(runtime.prepares) == 2
    assert not caplog.records


async def test_a_module_that_is_dropped_each_time_fails_the_job(world):
    runtime = Forgetting(100)
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}) as standing, world.client() as client:
            with pytest.raises(NoNode, match="dropped before it could run"):
                await client.submit(submission(), name="x", report=ignore, peers=[standing.address])
    assert 2 <= len(runtime.prepares) <= 4
