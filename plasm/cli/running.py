"""What a command does in its event loop, which SIGTERM and Ctrl-C end alike: what was begun is taken back first."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio.abc import TaskStatus

from plasm.cli.context import CommandFailed
from plasm.errors import leaves, ungrouped
from plasm.exitcodes import INTERRUPTED

T = TypeVar("T")


class Interrupted(CommandFailed):
    """SIGTERM or Ctrl-C ended the command."""

    def __init__(self) -> None:
        super().__init__("interrupted", code=INTERRUPTED)


async def stoppable(function: Callable[[], Awaitable[T]]) -> T:
    """What `function` returns; SIGTERM or Ctrl-C cancels it, and raises :exc:`Interrupted`.

    What is open around this stays open until `function` has ended: it may still tell a node.
    """
    results: list[T] = []
    with ungrouped():
        async with anyio.create_task_group() as tasks:

            async def listen(*, task_status: TaskStatus[None]) -> None:
                # Not a signal handler that raises: it strikes anywhere, in the event loop or in another's task.
                with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    task_status.started()
                    async for _ in signals:
                        tasks.cancel_scope.cancel()
                        return

            await tasks.start(listen)
            results.append(await function())
            tasks.cancel_scope.cancel()
    if not results:
        raise Interrupted
    return results[0]


def told_to_stop(error: BaseException) -> bool:
    """Whether `error`, raised inside an event loop, comes from Ctrl-C or SIGTERM."""
    stops = (KeyboardInterrupt, anyio.get_cancelled_exc_class())
    return any(isinstance(leaf, stops) for leaf in leaves(error))
