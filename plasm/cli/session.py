"""Commands about jobs go to the node that runs on this home, or open what they need themselves under its lock."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

import anyio

from plasm.cli.joining import knows_nobody, refuse_to_look
from plasm.cli.running import stoppable
from plasm.control.remote import RemoteJobs
from plasm.errors import PlanError
from plasm.home import Home, HomeBusy, HomeError
from plasm.host import open_client_on, open_worker
from plasm.jobs.journal import Journal, open_journal
from plasm.jobservice import JobService, OpenJobs
from plasm.node import open_plan

if TYPE_CHECKING:
    from plasm.cli.context import Context

T = TypeVar("T")

ELSEWHERE = frozenset({"signer", "transport", "discovery"})
"""The ports that sending a job takes."""
HERE = frozenset({"signer", "runtime", "store"})
"""The ports that running one here, with a receipt, takes."""
_START_SECONDS = 10.0
"""For which a node that is starting is waited for; it takes one or two."""
_ASK_AGAIN_SECONDS = 0.1


class HomeSilent(HomeError):
    """A process has the home, and nothing answers on its control socket."""


def with_jobs(
    context: Context,
    action: Callable[[JobService], Awaitable[T]],
    *,
    ports: Collection[str] = ELSEWHERE,
    bootstrap: tuple[str, ...] = (),
    looks: bool = False,
    looks_in_vain: bool = True,
    lists: bool = False,
) -> T:
    """Run `action` with the job service of this home and return what it returns.

    With `looks` it looks for nodes: raises :exc:`~plasm.cli.joining.NobodyKnown` where that cannot find any. Without
    `looks_in_vain` it does not look there, and does what it can without. With `lists` it lists jobs: those in the
    journal of a node that is not running too.
    """
    plan = context.plan(ports)
    settings = context.settings().node
    runtimes = _runtime_names(context, plan.profile.drivers.get("runtime", ()))
    log = logging.getLogger("plasm.client")
    ways_in = (*settings.bootstrap, *bootstrap)

    async def alone() -> T:
        async with AsyncExitStack() as stack:
            stack.enter_context(plan.home.lock())
            opened = await stack.enter_async_context(open_plan(plan, bootstrap=ways_in))
            in_vain = knows_nobody(plan, opened, ways_in)
            if looks and in_vain:
                refuse_to_look(opened)
            client = worker = None
            if opened.transports:
                client = await stack.enter_async_context(
                    open_client_on(opened, plan.home, runtimes, log, looks=looks_in_vain or not in_vain)
                )
            if opened.runtimes:
                # What is run for this user at once needs no journal: nobody else was promised anything.
                worker = await stack.enter_async_context(open_worker(opened, settings, Home(None), log))
            journal = await _journal(plan.home, stack) if lists else None
            service = OpenJobs(client, worker, journal)
            return await stoppable(lambda: action(service))

    while (node := anyio.run(_running_node, plan.home)) is None:
        # The home was free a moment ago; whoever took it meanwhile may be a node.
        with contextlib.suppress(HomeBusy):
            return anyio.run(alone, backend=plan.backend)
    if bootstrap:
        print("plasm: --bootstrap is for where no node runs; the running one has its own ways in", file=sys.stderr)
    return anyio.run(stoppable, lambda: action(node))


async def _running_node(home: Home) -> RemoteJobs | None:
    """The node on `home`, ``None`` where the home is free. Raises :exc:`HomeSilent` where it stays neither."""
    if home.path is None:
        return None
    node = RemoteJobs(home.path)
    deadline = anyio.current_time() + _START_SECONDS
    while not await node.alive():
        try:
            with home.lock():
                return None
        except HomeBusy as busy:
            if anyio.current_time() >= deadline:
                holder = "another process" if busy.pid is None else f"process {busy.pid}"
                raise HomeSilent(
                    f"{holder} has the home {home.path} and does not answer yet:"
                    " a node that is starting, or another command",
                    "ask again when it is done, or choose another --home",
                ) from None
        await anyio.sleep(_ASK_AGAIN_SECONDS)
    return node


async def _journal(home: Home, stack: AsyncExitStack) -> Journal | None:
    """The journal of the node that is not running, where there is one: for reading."""
    path = home.path / "journal.sqlite" if home.path is not None else None
    if path is None or not path.is_file():
        return None
    return await stack.enter_async_context(open_journal(path))


def _runtime_names(context: Context, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """The runtimes to look for: the selected ones, or the profile's where their plugins are not installed here."""
    try:
        selected = context.plan({"runtime"}).selected
    except PlanError:
        return otherwise
    return tuple(each.registered.name for each in selected if each.registered.port == "runtime")
