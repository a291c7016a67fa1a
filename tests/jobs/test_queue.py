"""The queue: first come first served for each client, clients in turn, and everyone knows their place."""

from __future__ import annotations

from collections import deque
from functools import partial

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from plasm.jobs.queue import SHORT_SECONDS, JobQueue, Tracked
from plasm.jobs.records import DONE, QUEUED, TRANSFERRING, Accepted, Ending
from plasm.ports import PeerId
from plasm.shares import origin_of
from tests.jobs.world import submission

JOB = submission().job


def tracked(client: str, number: int = 0, *, state: str = QUEUED) -> Tracked:
    return Tracked(
        Accepted(
            id=f"{client}{number}",
            client=PeerId(client),
            origin=origin_of(None, PeerId(client)),
            nonce=bytes(16),
            job=JOB,
            digest=JOB.digest(),
            module_size=0,
            input_size=0,
            runtime="scripted",
            accepted=0.0,
            state=state,
        )
    )


def filled(*names: str) -> tuple[JobQueue, list[Tracked]]:
    queue, jobs = JobQueue(), []
    for number, name in enumerate(names):
        jobs.append(tracked(name, number))
        queue.track(jobs[-1])
        queue.push(jobs[-1])
    return queue, jobs


@pytest.mark.anyio
async def test_clients_take_turns_however_many_jobs_one_of_them_sent():
    queue, _ = filled("a", "a", "a", "a", "b", "c")
    order = [(await queue.pop()).accepted.client for _ in range(6)]
    assert order == ["a", "b", "c", "a", "a", "a"]


@pytest.mark.anyio
async def test_only_jobs_of_a_network_whose_jobs_were_short_lately_are_expected_to_be():
    queue, (short, long, unknown) = filled("short", "long", "unknown")
    for job, seconds in ((short, SHORT_SECONDS), (long, SHORT_SECONDS * 1.1)):
        queue._runs.begin(job.accepted.origin.network)
        queue.ran(job, seconds)
    assert await queue.pop_short() is short
    with anyio.move_on_after(0) as waits:
        await queue.pop_short()
    assert waits.cancelled_caught
    assert {await queue.pop(), await queue.pop()} == {long, unknown}


@pytest.mark.anyio
async def test_one_long_job_among_many_short_ones_does_not_make_them_long():
    queue, (job,) = filled("a")
    for _ in range(99):
        queue.ran(job, 0.001)
    queue.ran(job, 1.0)
    assert await queue.pop_short() is job


@pytest.mark.anyio
async def test_who_waits_for_a_short_job_is_woken_by_one_that_comes_and_by_one_that_turns_out_to_be():
    queue, (ran, waits) = filled("a", "a")
    got: list[Tracked] = []

    async def take() -> None:
        while len(got) < 2:
            got.append(await queue.pop_short())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            assert got == []
            queue.ran(await queue.pop(), 0.001)
            await anyio.wait_all_tasks_blocked()
            assert got == [waits]
            later = tracked("a", 7)
            queue.track(later)
            queue.push(later)
    assert got == [waits, later]
    assert ran not in got


@pytest.mark.anyio
async def test_whoever_had_others_compile_least_has_its_module_compiled_next(monkeypatch):
    now = 0.0
    monkeypatch.setattr("plasm.jobs.queue.anyio.current_time", lambda: now)
    queue = JobQueue(lambda accepted: False)
    jobs = [tracked(name, number) for number, name in enumerate(("greedy", "other", "greedy", "other"))]
    for job in jobs:
        queue.track(job)
        queue.push(job)
    for job in jobs[:2]:
        assert await queue.pop_uncompiled() is job
        now += 5.0 if job is jobs[0] else 0.1
        queue.forget(job)
        queue.compiled(job)
    assert await queue.pop_uncompiled() is jobs[3]


@pytest.mark.anyio
async def test_the_jobs_of_one_client_run_in_the_order_of_their_arrival():
    queue, jobs = filled("a", "a", "a")
    assert [await queue.pop() for _ in range(3)] == jobs


@pytest.mark.anyio
async def test_everyone_who_waits_knows_how_many_are_ahead():
    queue, (a0, a1, b0, a2) = filled("a", "a", "b", "a")
    assert [each.ahead for each in (a0, a1, b0, a2)] == [0, 1, 2, 3]
    assert await queue.pop() is a0
    assert [each.ahead for each in (b0, a1, a2)] == [0, 1, 2]


@pytest.mark.anyio
async def test_a_change_of_place_wakes_who_waits_for_it():
    queue, (_, second) = filled("a", "b")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second.changed)
            await anyio.wait_all_tasks_blocked()
            await queue.pop()


@pytest.mark.anyio
async def test_every_slot_that_waits_gets_a_job_as_jobs_arrive():
    queue = JobQueue()
    popped: list[Tracked] = []

    async def slot() -> None:
        popped.append(await queue.pop())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(slot)
            for number in range(4):
                await anyio.wait_all_tasks_blocked()
                job = tracked("a", number)
                queue.track(job)
                queue.push(job)
    assert len(popped) == 4


@pytest.mark.anyio
async def test_a_job_that_is_forgotten_is_never_run():
    queue, (first, second) = filled("a", "a")
    queue.forget(first)
    assert await queue.pop() is second
    assert queue.waiting == 0


@pytest.mark.anyio
async def test_a_job_in_transfer_counts_as_waiting():
    queue = JobQueue()
    queue.track(tracked("a", state=TRANSFERRING))
    assert queue.waiting == 1
    assert set(queue.modules()) == {JOB.manifest.module_hash}


class Waiting(RuleBasedStateMachine):
    """Any order of arrivals, starts and endings, held against clients in a ring."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = start_blocking_portal()
        self.portal = self.loop.__enter__()
        self.queue = JobQueue()
        self.ring: deque[tuple[str, list[Tracked]]] = deque()
        self.running: list[Tracked] = []
        self.transferring: list[Tracked] = []
        self.number = 0

    @rule(client=st.sampled_from("abc"))
    def arrive(self, client: str) -> None:
        self.number += 1
        self.transferring.append(self.portal.call(partial(tracked, client, self.number, state=TRANSFERRING)))
        self.queue.track(self.transferring[-1])

    @precondition(lambda self: self.transferring)
    @rule(data=st.data())
    def supply(self, data: st.DataObject) -> None:
        job = self.transferring.pop(data.draw(st.integers(0, len(self.transferring) - 1)))
        self.portal.call(self.queue.push, job)
        for client, jobs in self.ring:
            if client == job.accepted.client:
                jobs.append(job)
                return
        self.ring.append((job.accepted.client, [job]))

    @precondition(lambda self: self.ring)
    @rule()
    def start(self) -> None:
        client, jobs = self.ring.popleft()
        expected = jobs.pop(0)
        if jobs:
            self.ring.append((client, jobs))
        assert self.portal.call(self.queue.pop) is expected
        self.running.append(expected)
        assert [each.ahead for each in self.in_turn()] == [*range(len(self.in_turn()))]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        job = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.queue.forget(job)
        self.portal.call(job.end, Ending(state=DONE))

    @precondition(lambda self: self.ring)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        client, jobs = self.ring[data.draw(st.integers(0, len(self.ring) - 1))]
        job = jobs.pop(data.draw(st.integers(0, len(jobs) - 1)))
        if not jobs:
            self.ring.remove((client, jobs))
        self.queue.forget(job)

    def teardown(self) -> None:
        self.loop.__exit__(None, None, None)

    def in_turn(self) -> list[Tracked]:
        left = [list(jobs) for _, jobs in self.ring]
        order = []
        while any(left):
            order += [jobs.pop(0) for jobs in left if jobs]
        return order

    @invariant()
    def it_knows_who_waits_and_who_holds_what(self) -> None:
        waiting = self.in_turn()
        held: dict[str, set[str]] = {}
        for job in (*waiting, *self.running, *self.transferring):
            held.setdefault(job.accepted.client, set()).add(job.accepted.id)
            assert self.queue.get(job.accepted.id) is job
        assert self.queue.held == held
        assert self.queue.waiting == len(waiting) + len(self.transferring)


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
