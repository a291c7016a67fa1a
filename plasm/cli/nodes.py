"""``plasm nodes``: who is out there, with runtimes, free slots and latency."""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
import click

from plasm.cli.context import Context
from plasm.cli.session import with_jobs
from plasm.cli.table import table
from plasm.errors import one_line
from plasm.exitcodes import NO, OK
from plasm.jobs.client import SeenNode
from plasm.jobservice import JobService


@click.command("nodes")
@click.option("--watch", is_flag=True, help="Go on looking and show what changes.")
@click.option("--timeout", "-t", default=5.0, show_default=True, metavar="SECONDS", help="For how long to look.")
@click.option("--peer", "peers", multiple=True, metavar="ADDR", help="Ask this node too; repeatable.")
@click.option("--bootstrap", "-b", multiple=True, metavar="ADDR", help="A way into the network; repeatable.")
@click.option("--arch", help="Only nodes of this architecture.")
@click.option("--json", "as_json", is_flag=True, help="A list; with --watch an object to a line.")
@click.pass_obj
def command(
    context: Context,
    *,
    watch: bool,
    timeout: float,
    peers: tuple[str, ...],
    bootstrap: tuple[str, ...],
    arch: str | None,
    as_json: bool,
) -> None:
    """Look for nodes; exits 1 where none answered."""
    found: dict[str, SeenNode] = {}
    live = watch and sys.stdout.isatty() and not as_json

    def seen(node: SeenNode) -> None:
        found[node.peer] = node
        if live:
            click.clear()
            print(_table(found))
        elif watch:
            print(json.dumps(_document(node)) if as_json else _table({node.peer: node}), flush=True)

    async def look(service: JobService) -> None:
        with anyio.move_on_after(None if watch else timeout):
            await service.watch_nodes(seen, peers=peers, arch=arch)

    if live:
        print("looking…")
    with_jobs(context, look, bootstrap=bootstrap)
    if as_json:
        print(json.dumps([_document(node) for node in found.values()]))
    elif found:
        print(_table(found))
    else:
        print(f"plasm: no node found within {timeout:g} s; --bootstrap names a way in", file=sys.stderr)
    raise SystemExit(OK if any(node.description for node in found.values()) else NO)


def _table(found: dict[str, SeenNode]) -> str:
    rows = []
    for node in sorted(found.values(), key=lambda node: node.latency_seconds or float("inf")):
        if node.description is None or node.latency_seconds is None:
            rows.append((node.peer, "-", "-", "-", "-", node.source, node.problem))
            continue
        said = node.description
        rows.append(
            (
                node.peer,
                one_line(",".join(said.runtimes)),
                one_line(said.arch),
                f"{said.free}/{said.slots}",
                f"{node.latency_seconds * 1000:.1f} ms",
                node.source,
                one_line(said.software),
            )
        )
    return table(("PEER", "RUNTIMES", "ARCH", "FREE", "LATENCY", "FOUND BY", ""), rows)


def _document(node: SeenNode) -> dict[str, Any]:
    said = node.description
    return {
        "peer": node.peer,
        "addresses": list(node.addresses),
        "source": node.source,
        "reachable": said is not None,
        "problem": node.problem,
        "latency_ms": None if node.latency_seconds is None else round(node.latency_seconds * 1000, 3),
        "software": said and said.software,
        "arch": said and said.arch,
        "runtimes": list(said.runtimes) if said else [],
        "slots": said and said.slots,
        "free": said and said.free,
        "queued": said and said.queued,
        "memory_mb": said and said.memory_mb,
        "max_timeout_seconds": said and said.max_timeout_seconds,
    }
