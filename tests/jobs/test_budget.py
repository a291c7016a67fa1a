"""The budget: never more than it allows is taken, nobody waits for a part that is free, and each gets its turn."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.budget import Budget
from plasm.shares import Origin, origin_of

pytestmark = pytest.mark.anyio

ONE, OTHER, THIRD = (origin_of(f"192.0.{number}.1", "peer") for number in (1, 2, 3))


async def test_a_peer_with_its_share_waits_and_lets_others_pass():
    budget, came = Budget(100, 50), []

    async def take(origin: Origin, size: int) -> None:
        async with budget.part(origin, size, 5):
            came.append((origin, size))

    with anyio.fail_after(5):
        async with budget.part(ONE, 40, 5), anyio.create_task_group() as tasks:
            async with budget.part(OTHER, 10, 5):
                tasks.start_soon(take, ONE, 20)
                await anyio.wait_all_tasks_blocked()
                assert came == []
                await take(THIRD, 50)
                assert came == [(THIRD, 50)]
            tasks.cancel_scope.cancel()
        async with budget.part(ONE, 50, 5):
            pass


async def test_a_single_part_above_all_bounds_comes_alone():
    budget = Budget(10, 5)
    async with budget.part(ONE, 20, 1):
        with pytest.raises(TimeoutError):
            async with budget.part(OTHER, 1, 0.01):
                raise AssertionError("it was given")
    async with budget.part(OTHER, 1, 1):
        pass


async def test_a_large_part_is_not_passed_by_small_ones_for_ever():
    budget, came = Budget(10, 10), []

    async def take(origin: Origin, size: int) -> None:
        async with budget.part(origin, size, 5):
            came.append(origin)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, budget.part(ONE, 5, 5):
            tasks.start_soon(take, OTHER, 9)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(take, THIRD, 3)
            await anyio.wait_all_tasks_blocked()
            assert came == []
    assert came == [OTHER, THIRD]
