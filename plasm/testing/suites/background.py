"""Tasks that a test needs beside itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from plasm.testing.suites.promises import within


class Background:
    """Something that a driver does in a task until it is told to stop."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()

    async def stop(self, patience: float, promise: str) -> None:
        """Cancel it and wait until it is over."""
        self.scope.cancel()
        with within(patience, promise):
            await self.ended.wait()


@asynccontextmanager
async def tasks() -> AsyncIterator[TaskGroup]:
    """Tasks that are cancelled when the block ends; the first thing that failed is raised as itself."""
    async with together() as group:
        yield group
        group.cancel_scope.cancel()


@asynccontextmanager
async def together() -> AsyncIterator[TaskGroup]:
    """Tasks that the end of the block waits for; the first thing that failed is raised as itself."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as failed:
        raise _first(failed) from failed


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The most telling failure: a broken promise before what followed from it."""
    leaves: list[BaseException] = []
    left: list[BaseException] = [group]
    while left:
        error = left.pop(0)
        if isinstance(error, BaseExceptionGroup):
            left.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((error for error in leaves if isinstance(error, AssertionError)), leaves[0])
