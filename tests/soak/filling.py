"""What a node with bounded tables is given before anything is measured: what grows from then on is a leak."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

import anyio
import psutil

from tests.soak.cases import Case, Deck
from tests.soak.crew import Member
from tests.soak.growth import Watch

MODULES_HELD = 140
"""More than a runtime holds compiled in memory at once, one descriptor each."""
_SLOTS = 2
_READY_PROCESSES = 2 * _SLOTS + 1
"""A warm parent and a spare for each slot, and the warm parent of what compiles."""
_REST_SECONDS = 15.0
_LOOK_SECONDS = 0.1


async def fill(
    members: Sequence[Member], deck: Deck, numbers: Iterator[int], submit: Callable[[Member, Case], Awaitable[None]]
) -> None:
    """Fill the node's table of modules."""
    async with anyio.create_task_group() as tasks:

        async def bring(member: Member) -> None:
            for _ in range(-(-MODULES_HELD // len(members))):
                await submit(member, deck.case("fresh", next(numbers)))

        for member in members:
            tasks.start_soon(bring, member)


async def rest(watch: Watch, *, reused: bool) -> list[str]:
    """Once nothing is asked: what is wrong with the processes that stay, which are those that stand ready for jobs.

    With isolation ``reused`` each slot may have kept another.
    """
    ready = range(_READY_PROCESSES, _READY_PROCESSES + 1 + _SLOTS * reused)
    with anyio.move_on_after(_REST_SECONDS):
        while len(watch.children()) not in ready:  # noqa: ASYNC110 (no event tells)
            await anyio.sleep(_LOOK_SECONDS)
    left = [_described(child) for child in watch.children()]
    if len(left) in ready:
        return []
    return [f"{len(left)} processes are left at rest, {ready[0]} to {ready[-1]} stand ready: {', '.join(left)}"]


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.name()} {process.pid} of {process.ppid()} {process.status()}"
    except psutil.NoSuchProcess:
        return "gone"
