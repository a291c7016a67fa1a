"""``plasm start``: the node."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
import sys
from pathlib import Path

import anyio
import click

from plasm.cli.context import Context
from plasm.cli.joining import knows_nobody
from plasm.cli.logs import show_what_happens
from plasm.cli.parameters import EXAMPLE, listen_addresses, peer_addresses
from plasm.config import NodeSettings
from plasm.control.server import serve_control
from plasm.errors import leaves, ungrouped
from plasm.host import Node, open_node
from plasm.jobs.finding import describe_search
from plasm.jobservice import OpenJobs
from plasm.node import OpenFailed, OpenPorts, open_plan
from plasm.plan import Plan
from plasm.ports import Guarded

DEFAULT_LISTEN = ("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001")
"""Every interface; without IPv6 the first alone. ``--listen`` and ``[node] listen`` say otherwise."""
_ALONE_LOOK_SECONDS = 3.0
"""A node that was told of no peers knows those who came to it: more is not found by looking for longer."""
PORTS = frozenset({"signer", "store", "transport", "discovery", "runtime", "service"})


@click.command("start")
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read this configuration instead of the home's config.toml, as plasm --config does.",
)
@click.option(
    "-l",
    "--listen",
    multiple=True,
    callback=listen_addresses,
    metavar="ADDR",
    help=f"A multiaddr to listen on, with port 0 for any free one; repeatable.  [default: {', '.join(DEFAULT_LISTEN)}]",
)
@click.option(
    "-p",
    "--peer",
    "peers",
    multiple=True,
    callback=peer_addresses,
    metavar="ADDR",
    help=f"A peer to join the network through, such as {EXAMPLE}; repeatable.",
)
@click.pass_obj
def command(context: Context, *, config: Path | None, listen: tuple[str, ...], peers: tuple[str, ...]) -> None:
    """Turn this computer into a node. Ctrl-C finishes the jobs that run; a second one stops at once."""
    if config is not None:
        context.config_path = config
    show_what_happens()
    configuration = context.settings()
    settings = configuration.node
    plan = context.plan(PORTS)
    try:
        anyio.run(_start, plan, settings, listen or settings.listen or _every_interface(), peers, backend=plan.backend)
    except OpenFailed as error:
        if error.mend or not error.driver.startswith("transport:"):
            raise
        # A transport tells what is wrong with an address, and not where it stands or what to write instead.
        mends = [f"[node] listen in {configuration.path} has the addresses"] if settings.listen and not listen else []
        mends += ["--listen /ip4/127.0.0.1/tcp/0 takes any free port"] if _port_is_taken(error) else []
        raise OpenFailed(error.driver, error.distribution, error.reason, "; ".join(mends)) from error


async def _start(plan: Plan, settings: NodeSettings, listen: tuple[str, ...], peers: tuple[str, ...]) -> None:
    log = logging.getLogger("plasm.node")
    bootstrap = (*settings.bootstrap, *peers)
    asked = anyio.Event()
    ready = anyio.Event()
    # Signals are heard from the first moment: a stop during a slow start is a stop.
    with plan.home.lock(), ungrouped(), anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                async for _ in signals:
                    if asked.is_set() or not ready.is_set():
                        tasks.cancel_scope.cancel()
                        return
                    asked.set()

            tasks.start_soon(stop)
            async with (
                open_plan(plan, listen=listen, bootstrap=bootstrap) as ports,
                open_node(ports, settings, plan.home, log) as node,
                serve_control(
                    plan.home.path,
                    OpenJobs(node.client, node.worker),
                    log,
                    most_look_seconds=_ALONE_LOOK_SECONDS if knows_nobody(plan, ports, bootstrap) else None,
                ),
            ):
                _introduce(plan, node, ports)
                if any(_is_unspecified(address) for address in listen):
                    _say(
                        "listens on every interface: whoever reaches this machine can talk to it;"
                        " --listen /ip4/127.0.0.1/tcp/4001 keeps it to this machine"
                    )
                if knows_nobody(plan, ports, bootstrap):
                    _say(
                        "alone: no peer to join through was named; --peer ADDR joins one, and others may join this node"
                    )
                else:
                    _say(f"looks for others by {describe_search(dict(ports.discoveries))}")
                for address in node.addresses:
                    print(f"ready {address}", flush=True)
                ready.set()
                await asked.wait()
                _say(
                    f"finishing the jobs that run, for {settings.drain_seconds} s at most;"
                    " press Ctrl-C again to stop at once"
                )
                await node.drain()
            tasks.cancel_scope.cancel()


def _every_interface() -> tuple[str, ...]:
    """:data:`DEFAULT_LISTEN`, as far as this machine has the protocols."""
    if socket.has_ipv6:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return DEFAULT_LISTEN
    return DEFAULT_LISTEN[:1]


def _is_unspecified(address: str) -> bool:
    return address.startswith(("/ip4/0.0.0.0/", "/ip6/::/"))


def _introduce(plan: Plan, node: Node, ports: OpenPorts) -> None:
    _say(f"{node.worker.admission.describe_policy()}, {node.settings.run_slots} at once")
    drivers = ", ".join(f"{each.registered.port}:{each.registered.name}" for each in plan.selected)
    _say(f"profile {plan.profile.name}: {drivers}")
    for name, runtime in ports.runtimes:
        if isinstance(runtime, Guarded):
            _say(f"around each run of {name}: {', '.join(runtime.guards) or 'no walls'}")
            for weakness in runtime.weaknesses:
                _say(f"WEAKER than it should be: {weakness}")
    if not plan.writes:
        _say("nothing is written: no control socket, and results are kept in memory")


def _port_is_taken(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        cause = next(leaves(cause))
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            return True
        cause = cause.__cause__
    return False


def _say(line: str) -> None:
    print(f"plasm: {line}", file=sys.stderr, flush=True)
