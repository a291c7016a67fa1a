"""``plasm start``: the node."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import anyio
import click

from plasm.cli.context import Context
from plasm.config import NodeSettings
from plasm.control.server import serve_control
from plasm.host import Node, open_node
from plasm.jobservice import OpenJobs
from plasm.node import open_plan
from plasm.plan import Plan

DEFAULT_LISTEN = ("/ip4/127.0.0.1/tcp/4001",)
"""Loopback until cells keep a stranger's code inside; ``--listen`` and ``[node] listen`` say otherwise."""
PORTS = frozenset({"signer", "store", "transport", "discovery", "runtime", "service"})


@click.command("start")
@click.option("-c", "--config", type=click.Path(path_type=Path), metavar="FILE", help="The same as plasm --config.")
@click.option("-l", "--listen", multiple=True, metavar="ADDR", help="A multiaddr to listen on; repeatable.")
@click.option("-p", "--peer", "peers", multiple=True, metavar="ADDR", help="A peer to join through; repeatable.")
@click.pass_obj
def command(context: Context, *, config: Path | None, listen: tuple[str, ...], peers: tuple[str, ...]) -> None:
    """Turn this computer into a node; Ctrl-C lets what runs end, a second one does not."""
    if config is not None:
        context.config_path = config
    settings = context.settings().node
    plan = context.plan(PORTS)
    anyio.run(_start, plan, settings, listen or settings.listen or DEFAULT_LISTEN, peers, backend=plan.backend)


async def _start(plan: Plan, settings: NodeSettings, listen: tuple[str, ...], peers: tuple[str, ...]) -> None:
    log = logging.getLogger("plasm.node")
    asked = anyio.Event()
    ready = anyio.Event()
    # Signals are heard from the first moment: a stop during a slow start is a stop.
    with plan.home.lock(), anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                async for _ in signals:
                    if asked.is_set() or not ready.is_set():
                        tasks.cancel_scope.cancel()
                        return
                    asked.set()

            tasks.start_soon(stop)
            async with (
                open_plan(plan, listen=listen, bootstrap=(*settings.bootstrap, *peers)) as ports,
                open_node(ports, settings, plan.home, log) as node,
                serve_control(plan.home.path, OpenJobs(node.client, node.worker), log),
            ):
                _introduce(plan, node)
                ready.set()
                await asked.wait()
                _say("letting what runs end; once more stops at once")
                await node.drain()
            tasks.cancel_scope.cancel()


def _introduce(plan: Plan, node: Node) -> None:
    _say(f"{node.worker.admission.describe_policy()}, {node.settings.run_slots} at once")
    drivers = ", ".join(f"{each.registered.port}:{each.registered.name}" for each in plan.selected)
    _say(f"profile {plan.profile.name}: {drivers}")
    if not plan.writes:
        _say("nothing is written: no control socket, and results are kept in memory")
    for address in node.addresses:
        print(f"ready {address}", flush=True)


def _say(line: str) -> None:
    print(f"plasm: {line}", file=sys.stderr, flush=True)
