"""Jobs from client processes over the network, ours beside Dask's and Ray's, and the whole command ``plasm run``."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

from tests.bench.amounts import Amounts
from tests.bench.figures import Report, Rounds, percentile
from tests.bench.processes import ROOT, START_SECONDS, Child, ChildFailed, NodeProcess, child, home
from tests.bench.programs import HELLO

ROUND_SECONDS = 300.0

Clients = Sequence[Child]
YARDSTICKS = {"Dask": ("dask",), "Ray": ("ray", "tasks"), "Ray actors": ("ray", "actors")}
"""What stands beside ours: a name, the cluster that it needs, and how its clients use it."""


@contextlib.asynccontextmanager
async def plasm_clients(folder: Path, served: NodeProcess, count: int) -> AsyncIterator[tuple[Clients, list[str]]]:
    """Ready clients of a node, and their peer IDs."""
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(count):
            arguments = ["tests.bench.plasm_client", str(home(folder, f"client-{number}")), served.address]
            clients.append(await stack.enter_async_context(child(f"client-{number}", folder, arguments)))
        yield clients, [(await each.reply(START_SECONDS))["peer"] for each in clients]


@contextlib.asynccontextmanager
async def yardsticks(folder: Path, count: int, report: Report) -> AsyncIterator[dict[str, Clients]]:
    """Ready clients of a cluster of Dask and of one of Ray, where that can be had."""
    async with AsyncExitStack() as stack:
        clusters = {
            name: await stack.enter_async_context(child(f"{name}-cluster", folder, arguments))
            for name, arguments in (
                ("dask", ["tests.bench.dask_cluster"]),
                ("ray", ["tests.bench.ray_cluster", str(home(folder, "ray"))]),
            )
        }
        addresses: dict[str, str] = {}
        for name, cluster in clusters.items():
            reply = await cluster.reply(START_SECONDS)
            if "address" in reply:
                addresses[name] = reply["address"]
            else:
                report.note(f"no figures of {name.capitalize()}: {reply['unavailable']}")
        crews: dict[str, list[Child]] = {}
        for name, (cluster_name, *how) in YARDSTICKS.items():
            if cluster_name not in addresses:
                continue
            crews[name] = []
            for number in range(count):
                arguments = [f"tests.bench.{cluster_name}_client", addresses[cluster_name], str(number), *how]
                client = child(f"{name.replace(' ', '-').lower()}-client-{number}", folder, arguments)
                crews[name].append(await stack.enter_async_context(client))
        for clients in crews.values():
            for each in clients:
                await each.reply(START_SECONDS)
        yield dict(crews)


async def measure_remote(amounts: Amounts, ours: Clients, folder: Path, report: Report) -> None:
    """Jobs one after another and from all clients at once, here and there in turn, after a round that counts not."""
    report.say("starting clusters of Dask and Ray")
    async with yardsticks(folder, amounts.clients, report) as theirs:
        crews = {"": ours, **theirs}
        for clients in crews.values():
            for each in clients:
                await each.ask({"jobs": max(5, amounts.jobs_each // 10)}, ROUND_SECONDS)
        run_command(folder)
        report.add_all(await _rounds(amounts, crews, folder, report))
    report.ask("remote p50, ours by Dask's", report.ratio("remote job, p50", "Dask job, p50"), 1)
    for name in theirs:
        ratio = report.ratio("4 clients", f"4 clients of {name}")
        report.ask(f"jobs per second, ours by that of {name}", ratio, 1, at_least=True)


async def _rounds(amounts: Amounts, crews: Mapping[str, Clients], folder: Path, report: Report) -> Rounds:
    rounds = Rounds()
    for number in range(amounts.rounds):
        report.say(f"round {number + 1} of {amounts.rounds}")
        for name, clients in crews.items():
            reply = await clients[0].ask({"jobs": amounts.jobs}, ROUND_SECONDS)
            for percent in (50, 99):
                figure = f"{name or 'remote'} job, p{percent}"
                rounds.note(figure, "ms", 1000 * percentile(reply["latencies"], percent))
        for name, clients in crews.items():
            figure = f"4 clients of {name}" if name else "4 clients"
            rounds.note(figure, "jobs/s", await _together(clients, amounts.jobs_each))
        for _ in range(amounts.commands):
            rounds.note("plasm run, whole command", "ms", 1000 * run_command(folder))
    return rounds


async def _together(clients: Clients, jobs_each: int) -> float:
    """Jobs per second of all `clients`, each of which runs `jobs_each` one after another."""
    replies: list[dict[str, Any]] = []

    async def ask(client: Child) -> None:
        replies.append(await client.ask({"jobs": jobs_each}, ROUND_SECONDS))

    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(ask, client)
    seconds: float = max(reply["ended"] for reply in replies) - min(reply["began"] for reply in replies)
    return jobs_each * len(clients) / seconds


async def measure_connecting(amounts: Amounts, client: Child, report: Report) -> None:
    """A client that connects to a node anew, each time."""
    report.say("connecting anew")
    reply = await client.ask({"connections": amounts.connections}, ROUND_SECONDS)
    report.add("connect to a node", "ms", [1000 * seconds for seconds in reply["latencies"]])


def run_command(folder: Path) -> float:
    """Seconds of ``plasm run hello.wasm``, the interpreter's start included."""
    command = [sys.executable, "-m", "plasm", "--home", str(home(folder, "run")), "run", "-q", str(HELLO)]
    began = time.monotonic()
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=ROOT, timeout=60, check=False)
    seconds = time.monotonic() - began
    if ended.returncode != 0 or ended.stdout != b"dlroW ,olleH":
        raise ChildFailed(f"plasm run ended with {ended.returncode}: {ended.stderr[-500:]!r}")
    return seconds
