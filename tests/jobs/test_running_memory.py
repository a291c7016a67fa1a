"""The jobs that run at once stay below the memory that there is for them, whatever each asks for."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.memory import RunningMemory
from plasm.memory import memory_of
from plasm.ports import Limits
from plasm.testing.fakes.scripts import hangs
from tests.jobs.world import ECHO, ignore, submission, until

pytestmark = pytest.mark.anyio


async def test_a_part_waits_until_there_is_room_and_those_behind_it_do_not_pass():
    memory, came = RunningMemory(100), []

    async def take(size: int) -> None:
        async with memory.held(size):
            came.append(size)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, memory.held(60):
            tasks.start_soon(take, 90)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(take, 20)
            await anyio.wait_all_tasks_blocked()
            assert came == []
    assert came == [90, 20]


async def test_what_is_larger_than_all_of_it_is_held_alone():
    memory, came = RunningMemory(100), anyio.Event()

    async def take() -> None:
        async with memory.held(1):
            came.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            async with memory.held(1000):
                tasks.start_soon(take)
                await anyio.wait_all_tasks_blocked()
                assert not came.is_set()
            await came.wait()


async def test_one_that_is_cancelled_while_it_waits_takes_nothing():
    memory = RunningMemory(100)
    with anyio.fail_after(5):
        async with memory.held(100):
            with anyio.move_on_after(0):
                async with memory.held(50):
                    pass
        async with memory.held(100):
            pass


def test_a_run_takes_its_memory_and_twice_its_files_and_output():
    small, large = (Limits(memory_bytes=memory, output_bytes=10, file_bytes=20) for memory in (0, 1000))
    assert memory_of(large) - memory_of(small) == 1000
    assert memory_of(small) == 60 + 64 * 2**20


@pytest.mark.parametrize(("room", "at_once"), [(500, 1), (1000, 2)])
async def test_two_jobs_run_at_once_only_where_both_fit(world, room, at_once):
    go_on = anyio.Event()
    with anyio.fail_after(20):
        async with (
            world.node({ECHO: hangs(until=go_on)}, slots=2, max_running_memory_mb=room) as standing,
            world.client() as client,
            anyio.create_task_group() as tasks,
        ):
            for number in range(2):

                async def submit(number: int = number) -> None:
                    await client.submit(
                        submission(args=[str(number)], memory_mb=256), name="x", report=ignore, peers=[standing.address]
                    )

                tasks.start_soon(submit)
            await until(lambda: standing.node.worker._running == 2 and standing.runtime.most_at_once == at_once)
            go_on.set()
    assert standing.runtime.most_at_once == at_once
