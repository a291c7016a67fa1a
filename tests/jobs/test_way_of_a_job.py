"""The whole way of a job between a client and a node, where nothing goes wrong."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.manifest import sha256
from plasm.jobs.messages import INLINE_BYTES, Accepted, Describe, Piece, Progress, Result
from plasm.jobs.receipt import hold_against, verify_receipt
from plasm.ports import Verdict
from plasm.testing import DictStore, FakeSigner, ScriptedRuntime
from plasm.testing.fakes.scripts import dies, echoes, ends, exits, fails, hangs, reverses, traps
from tests.jobs.world import ECHO, Events, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio

LARGE = b"0123456789abcdef" * (3 * INLINE_BYTES // 16)


async def test_a_job_is_found_run_and_proven(world):
    events = Events()
    with anyio.fail_after(10):
        async with world.node({ECHO: reverses()}) as standing, world.client() as client:
            submitted = submission(stdin=b"Hello, World")
            delivered = await client.submit(submitted, name="hello.wasm", report=events)
    assert delivered.stdout == b"dlroW ,olleH"
    assert delivered.node == standing.peer
    assert verify_receipt(delivered.receipt, standing.peer) == delivered.statement
    hold_against(
        delivered.statement, job=submitted.job, nonce=submitted.nonce, client=client.peer, stdout=b"dlroW ,olleH"
    )
    kinds = events.kinds()
    assert [kinds[0], kinds[-1]] == ["looking", "verified"]
    assert kinds.index("found") < kinds.index("sending") < kinds.index("accepted")


async def test_a_program_gets_its_arguments_environment_input_limits_and_seed(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client:
            submitted = submission(stdin=b"in", args=["-v", "ü"], memory_mb=17, timeout_seconds=7, fuel=99)
            await client.submit(submitted, name="x", report=ignore)
    (call,) = standing.runtime.calls
    assert (call.module, call.args, call.stdin) == (sha256(ECHO), ("-v", "ü"), b"in")
    assert (call.limits.memory_bytes, call.limits.wall_seconds, call.limits.fuel) == (17 * 2**20, 7.0, 99)
    assert "sha256:" + call.seed.hex() == submitted.job.digest()


async def test_the_module_is_sent_once_and_skipped_when_the_node_has_it(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            needs = []
            for stdin in (b"one", b"two"):
                submitted = submission(stdin=stdin)
                await talk.send(offer_for(submitted))
                accepted = await talk.reply()
                assert isinstance(accepted, Accepted)
                needs.append(accepted.needs)
                if accepted.needs:
                    await talk.send(Piece(data=submitted.module))
                while isinstance(reply := await talk.reply(), Progress):
                    pass
                assert isinstance(reply, Result)
                assert reply.data == stdin
    assert needs == [("module",), ()]
    assert standing.runtime.prepares == [sha256(ECHO)]


async def test_large_modules_inputs_and_outputs_travel_in_pieces(world):
    module = ECHO * 60_000
    with anyio.fail_after(20):
        async with world.node({module: echoes()}) as standing, world.client() as client:
            delivered = await client.submit(submission(module, LARGE), name="x", report=ignore)
    assert delivered.stdout == LARGE
    assert standing.store.contents == {sha256(module): module}


async def test_stdout_and_stderr_are_kept_apart_whatever_their_size(world):
    out, err = LARGE, LARGE[::-1][:-5]
    with anyio.fail_after(20):
        async with world.node({ECHO: exits(7, stdout=out, stderr=err)}), world.client() as client:
            delivered = await client.submit(submission(), name="x", report=ignore)
    assert (delivered.stdout, delivered.stderr) == (out, err)
    assert delivered.statement.predicate.exit_code == 7


async def test_an_empty_module_is_a_module(world):
    with anyio.fail_after(10):
        async with world.node({b"": exits(0, stdout=b"!")}), world.client() as client:
            assert (await client.submit(submission(b""), name="x", report=ignore)).stdout == b"!"


@pytest.mark.parametrize(
    ("script", "verdict"),
    [(traps(), Verdict.TRAPPED), (ends(Verdict.OUT_OF_MEMORY), Verdict.OUT_OF_MEMORY), (None, Verdict.NOT_RUNNABLE)],
)
async def test_a_job_that_ends_badly_has_a_receipt_too(world, script, verdict):
    with anyio.fail_after(10):
        async with world.node({ECHO: script} if script else {}), world.client() as client:
            delivered = await client.submit(submission(), name="x", report=ignore)
    assert delivered.statement.predicate.verdict == verdict
    assert delivered.statement.predicate.exit_code is None
    assert delivered.detail


async def test_a_client_hears_of_its_place_in_the_queue_and_of_its_start(world):
    release, running = anyio.Event(), anyio.Event()
    events = Events()
    scripts = {b"first": hangs(until=release, started=running), ECHO: echoes()}
    with anyio.fail_after(10):
        async with (
            world.node(scripts, slots=1),
            world.client() as client,
            world.client(seed=101) as other,
            anyio.create_task_group() as tasks,
        ):

            async def submit_first() -> None:
                await other.submit(submission(b"first"), name="first", report=ignore)

            async def submit_second() -> None:
                await client.submit(submission(), name="second", report=events)

            tasks.start_soon(submit_first)
            await running.wait()
            tasks.start_soon(submit_second)
            await until(lambda: "queued" in events.kinds())
            release.set()
    assert events.kinds()[-1] == "verified"


async def test_a_node_runs_as_many_jobs_at_once_as_it_has_slots_and_no_more(world):
    release = anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(until=release)}, slots=3) as standing, world.client() as client:
            standing.runtime._free = anyio.Semaphore(10)
            async with anyio.create_task_group() as tasks:

                async def submit(number: int) -> None:
                    await client.submit(submission(args=[str(number)]), name="x", report=ignore)

                for number in range(6):
                    tasks.start_soon(submit, number)
                await until(lambda: len(standing.runtime.calls) == 3)
                await anyio.wait_all_tasks_blocked()
                assert standing.runtime.most_at_once == 3
                release.set()
    assert len(standing.runtime.calls) == 6
    assert standing.runtime.most_at_once == 3


async def test_many_jobs_of_several_clients_all_end_well_over_kept_streams(world):
    with anyio.fail_after(20):
        async with world.node(slots=2) as standing, anyio.create_task_group() as tasks:

            async def work(seed: int) -> None:
                async with world.client(seed=seed) as client:
                    for number in range(20):
                        text = f"{seed} {number}".encode()
                        delivered = await client.submit(
                            submission(stdin=text), name="x", report=ignore, peers=[standing.address]
                        )
                        assert delivered.stdout == text

            for seed in range(100, 104):
                tasks.start_soon(work, seed)
    assert len(standing.runtime.calls) == 80


async def test_a_kept_stream_is_used_for_the_next_job(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client:
            for number in range(5):
                await client.submit(submission(args=[str(number)]), name="x", report=ignore)
            assert len(standing.transport._streams) == 1


async def test_a_kept_stream_that_died_costs_no_attempt(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client:
            await client.submit(submission(), name="x", report=ignore)
            world.network.disconnect(standing.peer)
            events = Events()
            await client.submit(submission(), name="x", report=events)
    assert "reconnecting" not in events.kinds()
    assert "node_failed" not in events.kinds()


async def test_a_cell_that_dies_is_tried_again_twice_and_then_has_its_receipt(world):
    with anyio.fail_after(10):
        async with world.node({ECHO: dies()}) as standing, world.client() as client:
            delivered = await client.submit(submission(), name="x", report=ignore)
    assert len(standing.runtime.calls) == 3
    assert delivered.statement.predicate.verdict == Verdict.CELL_DIED
    assert not delivered.statement.predicate.reproducible


async def test_a_cell_that_died_once_does_no_harm(world):
    deaths = []

    async def script(run) -> int:
        if not deaths:
            deaths.append(1)
            await dies()(run)
        run.write(b"alive")
        return 0

    with anyio.fail_after(10):
        async with world.node({ECHO: script}), world.client() as client:
            assert (await client.submit(submission(), name="x", report=ignore)).stdout == b"alive"


async def test_a_job_runs_on_the_runtime_that_it_names_else_on_the_first(world):
    first = ScriptedRuntime({ECHO: exits(0, stdout=b"first")})
    second = ScriptedRuntime({ECHO: exits(0, stdout=b"second")}, name="other")
    with anyio.fail_after(10):
        async with (
            world.node(runtimes={"scripted": first, "other": second}) as standing,
            world.client() as client,
        ):
            plain = await client.submit(submission(), name="x", report=ignore, peers=[standing.address])
            job = submission()
            named = type(job)(job=job.job, module=job.module, runtime="other")
            chosen = await client.submit(named, name="x", report=ignore)
    assert (plain.stdout, chosen.stdout) == (b"first", b"second")


async def test_a_module_is_read_from_the_store_that_has_it_whole(world):
    damaged, whole = DictStore(), DictStore()
    digest = sha256(ECHO)
    damaged.contents[digest] = b"something else"
    whole.contents[digest] = ECHO
    with anyio.fail_after(10):
        async with world.node(stores=[damaged, whole]), world.client() as client:
            assert (await client.submit(submission(stdin=b"in"), name="x", report=ignore)).stdout == b"in"


async def test_a_module_that_is_damaged_in_the_only_store_fails_on_this_node_alone(world):
    damaged = DictStore()
    damaged.contents[sha256(ECHO)] = b"something else"
    with anyio.fail_after(10):
        async with world.node(stores=[damaged]) as standing, world.client() as client:
            with pytest.raises(NoNode, match="NodeFailed") as caught:
                await client.submit(submission(), name="x", report=ignore, peers=[standing.address])
            assert standing.runtime.calls == []
            other = submission(b"not scripted")
            assert (await client.submit(other, name="x", report=ignore)).statement.predicate.verdict == "not_runnable"
    assert caught.value.failures[0][0] == standing.peer


async def test_a_runtime_that_fails_goes_on_to_the_next_node(world):
    events = Events()
    with anyio.fail_after(10):
        async with (
            world.node({ECHO: fails("the engine is broken")}) as broken,
            world.node(seed=2) as healthy,
            world.client() as client,
        ):
            delivered = await client.submit(
                submission(), name="x", report=events, peers=[broken.address, healthy.address]
            )
    assert delivered.node == healthy.peer
    assert len(broken.runtime.calls) == 3
    (failed,) = [event for event in events if event.kind == "node_failed"]
    assert failed.node == broken.peer
    assert "the engine is broken" in failed.detail


@pytest.mark.parametrize("where", ["sign", "run"])
async def test_a_driver_that_breaks_fails_the_job_and_not_the_node(world, where, monkeypatch):
    def broken(*args: object) -> bytes:
        raise ZeroDivisionError("a bug")

    async def script(run) -> int:
        if where == "run" and run.invocation.args:
            broken()
        return 0

    with anyio.fail_after(10):
        async with world.node({ECHO: script}) as standing, world.client() as client:
            with monkeypatch.context() as patch:
                if where == "sign":
                    patch.setattr(
                        FakeSigner,
                        "sign",
                        lambda self, message: broken() if message.startswith(b"DSSEv1") else self._key.sign(message),
                    )
                with pytest.raises(NoNode, match="NodeFailed"):
                    await client.submit(submission(args=["x"]), name="x", report=ignore, peers=[standing.address])
            assert (await client.submit(submission(), name="x", report=ignore)).node == standing.peer


async def test_a_node_says_what_it_offers_and_how_far_it_is(world):
    with anyio.fail_after(10):
        async with world.node(max_memory_mb=100, max_timeout_seconds=9) as standing, world.client() as client:
            seen = await client.describe(standing.found)
    assert seen.problem == ""
    assert seen.description is not None
    assert (seen.description.runtimes, seen.description.slots, seen.description.free) == (("scripted",), 2, 2)
    assert (seen.description.memory_mb, seen.description.max_timeout_seconds) == (100, 9)
    assert seen.latency_seconds is not None
    assert 0 <= seen.latency_seconds < 5


async def test_nodes_are_shown_as_they_are_found(world):
    seen = []
    with anyio.fail_after(10):
        async with world.node() as first, world.client() as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.watch_nodes, seen.append)
            await until(lambda: len(seen) == 1)
            async with world.node(seed=2) as second:
                await until(lambda: len(seen) == 2)
            tasks.cancel_scope.cancel()
    assert [each.peer for each in seen] == [first.peer, second.peer]


async def test_free_slots_are_those_that_nothing_runs_on(world):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with world.node({ECHO: hangs(started=running)}, slots=3) as standing, world.client() as client:
            await client.detach(submission(), name="x", report=ignore)
            await running.wait()
            async with world.stranger() as open_talk:
                talk = await open_talk(standing)
                await talk.send(Describe())
                described = await talk.reply()
    assert (described.slots, described.free, described.queued) == (3, 2, 0)


async def test_where_no_node_is_found_it_says_where_it_looked_and_for_how_long(world):
    with anyio.fail_after(10):
        async with world.client() as client:
            with pytest.raises(
                NoNode, match=r"no node was found: looked 0.05 s by static \(a static directory\)"
            ) as caught:
                await client.submit(submission(), name="x", report=ignore, look_seconds=0.05)
    assert "--peer" in caught.value.mend


async def test_where_no_node_has_what_was_asked_for_it_says_what_that_was(world):
    with anyio.fail_after(10):
        async with world.client() as client:
            with pytest.raises(
                NoNode, match=r"no node with the runtime 'v8' and the architecture 'arm64' was"
            ) as caught:
                asked = replace(submission(), runtime="v8", arch="arm64")
                await client.submit(asked, name="x", report=ignore, look_seconds=0.05)
    assert caught.value.mend.startswith("leave --runtime and --arch out")


async def test_the_time_for_looking_does_not_count_what_a_job_takes(world):
    async def slow(run) -> int:
        await anyio.sleep(0.3)
        return 0

    with anyio.fail_after(10):
        async with world.node({ECHO: slow}), world.client() as client:
            await client.submit(submission(), name="x", report=ignore, look_seconds=0.2)


async def test_capabilities_reach_the_runtime_and_show_in_the_receipt(world):
    async def clock(run) -> int:
        run.clock()
        return 0

    with anyio.fail_after(10):
        async with world.node({ECHO: clock}), world.client() as client:
            real = await client.submit(submission(capabilities=("clock",)), name="x", report=ignore)
            virtual = await client.submit(submission(), name="x", report=ignore)
    assert not real.statement.predicate.reproducible
    assert virtual.statement.predicate.reproducible


async def test_two_nodes_agree_on_the_result_digest(world):
    with anyio.fail_after(10):
        async with world.node() as one, world.node(seed=2) as other, world.client() as client:
            job = submission(stdin=b"in")
            results = [await client.submit(job, name="x", report=ignore, peers=[each.address]) for each in (one, other)]
    assert len({each.statement.predicate.result_digest for each in results}) == 1
    assert len({each.statement.predicate.node for each in results}) == 2
