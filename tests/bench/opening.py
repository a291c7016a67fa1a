"""What a client process opens: the ports and the client of a home, as the commands do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from plasm.config import load_config
from plasm.home import Home
from plasm.host import open_client_on
from plasm.jobs.client import Client
from plasm.node import OpenPorts, open_plan
from plasm.plan import Plan, make_plan
from plasm.registry import load_registry

PORTS = frozenset({"signer", "transport", "discovery"})
RUNTIMES = ("wasmtime",)
LOG = logging.getLogger("plasm.client")


def plan_for(home: Path, plugins: Sequence[str] = ()) -> Plan:
    """The plan of a command that sends jobs from `home`."""
    return make_plan(load_registry(), ports=PORTS, cli=tuple(plugins), config=load_config(None, home), home=Home(home))


@contextlib.asynccontextmanager
async def opened(plan: Plan, bootstrap: Sequence[str] = ()) -> AsyncIterator[tuple[OpenPorts, Client]]:
    """The plan's ports and a client on them."""
    async with (
        open_plan(plan, bootstrap=tuple(bootstrap)) as ports,
        open_client_on(ports, plan.home, RUNTIMES, LOG) as client,
    ):
        yield ports, client
