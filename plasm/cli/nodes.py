"""``plasm nodes``: who is out there, with runtimes, free slots and latency."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import anyio
import click

from plasm.cli import standings
from plasm.cli.context import Context
from plasm.cli.parameters import EXAMPLE, bootstrap_option, peer_option, seconds
from plasm.cli.running import Interrupted
from plasm.cli.session import ELSEWHERE, with_jobs
from plasm.cli.standings import columns, read_records
from plasm.cli.table import table
from plasm.errors import one_line
from plasm.exitcodes import NO, OK
from plasm.jobs.client import SeenNode
from plasm.jobservice import JobService

_LEDGER_AT = 5
_HEADER = ("PEER", "RUNTIMES", "ARCH", "FREE", "LATENCY", "FOUND BY", "SOFTWARE OR PROBLEM")
_WIDTHS = (52, 12, 6, 5, 8, 8)
"""Of a table that is printed line by line, before all of its lines are known."""


@click.command("nodes")
@click.option("--watch", is_flag=True, help="Go on looking and show what changes, until Ctrl-C.")
@click.option(
    "--timeout", "-t", default=5.0, callback=seconds, show_default=True, metavar="SECONDS", help="How long to look."
)
@peer_option(f"Ask this node too, such as {EXAMPLE}; repeatable.")
@bootstrap_option
@click.option("--arch", metavar="NAME", help="Only nodes of this architecture: x86_64 or arm64.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list; with --watch an object to a line.")
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
    """Look for nodes; exits 1 where none answered. With --watch it goes on until Ctrl-C and exits 0."""
    found: dict[str, SeenNode] = {}
    watched = _Watched(as_json)

    def seen(node: SeenNode) -> None:
        found[node.peer] = node
        if watch:
            watched.show(node, found)

    async def look(service: JobService) -> None:
        with anyio.move_on_after(None if watch else timeout):
            await service.watch_nodes(seen, peers=peers, arch=arch)

    try:
        with_jobs(context, look, bootstrap=bootstrap, looks=not peers)
    except (KeyboardInterrupt, Interrupted):
        if watch:
            raise SystemExit(OK) from None
        raise
    records = read_records(context.plan(ELSEWHERE).home, [node.peer for node in found.values()])
    if as_json:
        print(
            json.dumps(
                [_document(node) | {"ledger": standings.document(records[node.peer])} for node in found.values()]
            )
        )
    elif found:
        rows = [
            (*_row(node)[:_LEDGER_AT], *columns(records[node.peer]), *_row(node)[_LEDGER_AT:])
            for node in _nearest_first(found)
        ]
        print(table((*_HEADER[:_LEDGER_AT], *standings.HEADER, *_HEADER[_LEDGER_AT:]), rows))
    else:
        print(
            f"plasm: no other node found within {timeout:g} s;"
            " --peer names one, --bootstrap a way in, --profile local looks on the local network",
            file=sys.stderr,
        )
    raise SystemExit(OK if any(node.description for node in found.values()) else NO)


class _Watched:
    """Nodes as they are found: on a terminal one table that is drawn anew, else a line to a node."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._live = sys.stdout.isatty() and not as_json
        self._lines = 0
        if self._live:
            print("looking…")

    def show(self, node: SeenNode, found: dict[str, SeenNode]) -> None:
        """Show `node`, the newest of `found`."""
        if self._as_json:
            print(json.dumps(_document(node)), flush=True)
            return
        height = max(2, shutil.get_terminal_size().lines - 1)
        if self._live:
            click.clear()
            print(table(_HEADER, [_row(each) for each in _nearest_first(found)[: height - 1]]), flush=True)
            return
        header, line = table(_HEADER, [_row(node)], _WIDTHS).splitlines()
        # The header comes again before it scrolls out of sight.
        print(line if self._lines % height else f"{header}\n{line}", flush=True)
        self._lines += 1


def _nearest_first(found: dict[str, SeenNode]) -> list[SeenNode]:
    return sorted(found.values(), key=lambda node: node.latency_seconds or float("inf"))


def _row(node: SeenNode) -> tuple[str, ...]:
    if node.description is None or node.latency_seconds is None:
        return (node.peer, "-", "-", "-", "-", node.source, node.problem)
    said = node.description
    return (
        node.peer,
        one_line(",".join(said.runtimes)),
        one_line(said.arch),
        f"{said.free}/{said.slots}",
        f"{node.latency_seconds * 1000:.1f} ms",
        node.source,
        one_line(said.software),
    )


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
