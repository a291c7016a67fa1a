"""Commands about jobs go to the node that runs on this home, or open what they need themselves under its lock."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

import anyio

from plasm.control.remote import RemoteJobs
from plasm.errors import PlanError
from plasm.home import Home
from plasm.host import client_for, open_worker
from plasm.jobs.client import open_client
from plasm.jobservice import JobService, OpenJobs
from plasm.node import open_plan

if TYPE_CHECKING:
    from plasm.cli.context import Context

T = TypeVar("T")

ELSEWHERE = frozenset({"signer", "transport", "discovery"})
"""The ports that sending a job takes."""
HERE = frozenset({"signer", "runtime", "store"})
"""The ports that running one here, with a receipt, takes."""


def with_jobs(
    context: Context,
    action: Callable[[JobService], Awaitable[T]],
    *,
    ports: Collection[str] = ELSEWHERE,
    bootstrap: tuple[str, ...] = (),
) -> T:
    """Run `action` with the job service of this home and return what it returns."""
    plan = context.plan(ports)
    settings = context.settings().node
    folder = plan.home.path
    if folder is not None and anyio.run(RemoteJobs(folder).alive):
        if bootstrap:
            print("plasm: --bootstrap is for where no node runs; the running one has its own ways in", file=sys.stderr)
        return anyio.run(action, RemoteJobs(folder))
    runtimes = _runtime_names(context, plan.profile.drivers.get("runtime", ()))
    log = logging.getLogger("plasm.client")

    async def alone() -> T:
        async with AsyncExitStack() as stack:
            stack.enter_context(plan.home.lock())
            opened = await stack.enter_async_context(open_plan(plan, bootstrap=(*settings.bootstrap, *bootstrap)))
            client = worker = None
            if opened.transports:
                client = await stack.enter_async_context(open_client(client_for(opened, plan.home, runtimes, log)))
            if opened.runtimes:
                # What is run for this user at once needs no journal: nobody else was promised anything.
                worker = await stack.enter_async_context(open_worker(opened, settings, Home(None), log))
            return await action(OpenJobs(client, worker))

    return anyio.run(alone, backend=plan.backend)


def _runtime_names(context: Context, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """The runtimes to look for: the selected ones, or the profile's where their plugins are not installed here."""
    try:
        selected = context.plan({"runtime"}).selected
    except PlanError:
        return otherwise
    return tuple(each.registered.name for each in selected if each.registered.port == "runtime")
