"""The measurements, one function each; rounds alternate between Plasm and the yardstick."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

from tests.bench.bare import HELLO, check, run_hello
from tests.bench.figures import Report, percentile
from tests.bench.processes import ROOT, START_SECONDS, Child, ChildFailed, NodeProcess, child, node

CONFIG = """[node]
slots = 2
trust = "anyone"

[runtime.wasmtime]
isolation = "reused"
slots = 2
"""
_ROUND_SECONDS = 300.0
_LOOK_SECONDS = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Amounts:
    """How much is measured."""

    rounds: int
    jobs: int
    """One after another, in each round."""
    clients: int
    jobs_each: int
    """Of each of the clients that work at once."""
    commands: int
    connections: int
    looks: int
    fleet: int
    killed: int


FULL = Amounts(rounds=5, jobs=400, clients=4, jobs_each=200, commands=3, connections=20, looks=5, fleet=20, killed=6)
QUICK = Amounts(rounds=2, jobs=100, clients=4, jobs_each=50, commands=1, connections=5, looks=1, fleet=5, killed=2)


async def measure(amounts: Amounts, folder: Path, say: Say) -> Report:
    """Everything, in one run. Raises :exc:`ChildFailed` or :exc:`~tests.bench.bare.WrongResult`."""
    report = Report(settings={**asdict(amounts), "slots": 2, "isolation": "reused", "module": HELLO.name})
    async with AsyncExitStack() as stack:
        say("starting a node, a cluster of Dask and their clients")
        served = await stack.enter_async_context(node("node", folder, config=CONFIG))
        cluster = await stack.enter_async_context(child("dask-cluster", folder, ["tests.bench.dask_cluster"]))
        scheduler = (await cluster.reply(START_SECONDS))["address"]
        ours, theirs = [], []
        for number in range(amounts.clients):
            arguments = ["tests.bench.plasm_client", str(_home(folder, f"client-{number}")), served.address]
            ours.append(await stack.enter_async_context(child(f"client-{number}", folder, arguments)))
            arguments = ["tests.bench.dask_client", scheduler]
            theirs.append(await stack.enter_async_context(child(f"dask-client-{number}", folder, arguments)))
        for each in (*ours, *theirs):
            await each.reply(START_SECONDS)
        await measure_jobs(amounts, ours, theirs, folder, report, say)
        say("connecting anew")
        reply = await ours[0].ask({"connections": amounts.connections}, _ROUND_SECONDS)
        report.add("connect to a node", "ms", [1000 * seconds for seconds in reply["latencies"]])
    await measure_looks(amounts, folder, report, say)
    await measure_fleet(amounts, folder, report, say)
    report.ask("remote p50, ours by Dask's", report.ratio("remote job, p50", "Dask job, p50"), 1)
    report.ask("jobs per second, ours by Dask's", report.ratio("4 clients", "4 clients of Dask"), 1, at_least=True)
    for name in ("dht", "mdns"):
        report.ask(f"first node found by {name}, s", report.figures[f"first node by {name}"].value, 2)
    live = amounts.fleet - amounts.killed
    found = report.figures["live providers found"].value
    report.ask(f"live providers found, of {amounts.fleet} with {amounts.killed} killed", found, live, at_least=True)
    return report


async def measure_jobs(
    amounts: Amounts, ours: Sequence[Child], theirs: Sequence[Child], folder: Path, report: Report, say: Say
) -> None:
    """Jobs one after another and from all clients at once, here and there in turn, after a round that counts not."""
    rounds: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        rounds.setdefault(name, []).append(value)

    for each in (*ours, *theirs):
        await each.ask({"jobs": max(5, amounts.jobs_each // 10)}, _ROUND_SECONDS)
    run_command(folder)
    bare_jobs(10)
    for number in range(amounts.rounds):
        say(f"round {number + 1} of {amounts.rounds}")
        latencies = bare_jobs(amounts.jobs)
        note("bare wasmtime-py, p50", 1000 * percentile(latencies, 50))
        for name, clients in (("remote job", ours), ("Dask job", theirs)):
            reply = await clients[0].ask({"jobs": amounts.jobs}, _ROUND_SECONDS)
            note(f"{name}, p50", 1000 * percentile(reply["latencies"], 50))
            note(f"{name}, p99", 1000 * percentile(reply["latencies"], 99))
        for name, clients in (("4 clients", ours), ("4 clients of Dask", theirs)):
            note(name, await _together(clients, amounts.jobs_each))
        for _ in range(amounts.commands):
            note("plasm run, whole command", 1000 * run_command(folder))
    for name, values in rounds.items():
        report.add(name, "jobs/s" if "clients" in name else "ms", values)


async def _together(clients: Sequence[Child], jobs_each: int) -> float:
    """Jobs per second of all `clients`, each of which runs `jobs_each` one after another."""
    replies: list[dict[str, Any]] = []

    async def ask(client: Child) -> None:
        replies.append(await client.ask({"jobs": jobs_each}, _ROUND_SECONDS))

    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(ask, client)
    seconds: float = max(reply["ended"] for reply in replies) - min(reply["began"] for reply in replies)
    return jobs_each * len(clients) / seconds


def bare_jobs(count: int) -> list[float]:
    """Seconds of each of `count` jobs by wasmtime-py in this process."""
    latencies = []
    for number in range(count):
        stdin = b"job %d" % number
        began = time.monotonic()
        stdout = run_hello(stdin)
        latencies.append(time.monotonic() - began)
        check(stdin, stdout)
    return latencies


def run_command(folder: Path) -> float:
    """Seconds of ``plasm run hello.wasm``, the interpreter's start included."""
    command = [sys.executable, "-m", "plasm", "--home", str(_home(folder, "run")), "run", "-q", str(HELLO)]
    began = time.monotonic()
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=ROOT, timeout=60, check=False)
    seconds = time.monotonic() - began
    if ended.returncode != 0 or ended.stdout != b"dlroW ,olleH":
        raise ChildFailed(f"plasm run ended with {ended.returncode}: {ended.stderr[-500:]!r}")
    return seconds


async def measure_looks(amounts: Amounts, folder: Path, report: Report, say: Say) -> None:
    """A client process that starts looking, until it finds the first node: by dht through a way in, and by mdns."""
    say("looking for a first node")
    rounds: dict[str, list[float]] = {}
    async with (
        node("way-in", folder, config=CONFIG) as way_in,
        node("dht-node", folder, config=CONFIG, peers=[way_in.address]) as by_dht,
        node("mdns-node", folder, config=CONFIG, arguments=["--profile", "local"]) as by_mdns,
    ):
        cases: list[tuple[str, list[str], list[NodeProcess]]] = [
            ("dht", [way_in.address], [by_dht]),
            ("mdns", [], [by_mdns]),
        ]
        for number in range(amounts.looks):
            for name, bootstrap, wanted in cases:
                request = {"plugins": [name], "bootstrap": bootstrap, "wanted": [each.peer for each in wanted]}
                reply, born = await look(folder, f"look-{name}-{number}", request)
                if not reply["found"]:
                    raise ChildFailed(f"no node found by {name} within {_LOOK_SECONDS:g} s")
                found = min(reply["found"].values())
                for figure, since in (
                    (f"first node by {name}", reply["opened"]),
                    (f"first node by {name}, ports' opening included", reply["began"]),
                    (f"first node by {name}, interpreter's start included", born),
                ):
                    rounds.setdefault(figure, []).append(found - since)
    for figure, values in rounds.items():
        report.add(figure, "s", values)


async def look(folder: Path, name: str, request: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What a looking process found, and when that process was born."""
    arguments = ["tests.bench.looking", str(_home(folder, name)), str(_LOOK_SECONDS), json.dumps(request)]
    async with child(name, folder, arguments) as looking:
        return await looking.reply(_LOOK_SECONDS + START_SECONDS), looking.born


async def measure_fleet(amounts: Amounts, folder: Path, report: Report, say: Say) -> None:
    """Nodes that know of two ways in; some are killed, one of the two among them; a newcomer looks for the rest."""
    say(f"starting {amounts.fleet} nodes")
    async with AsyncExitStack() as stack:
        fleet: list[NodeProcess] = []
        ways_in: list[str] = []
        for number in range(amounts.fleet):
            started = await stack.enter_async_context(node(f"fleet-{number}", folder, config=CONFIG, peers=ways_in))
            fleet.append(started)
            ways_in = [each.address for each in fleet[:2]]
        request: dict[str, Any] = {"plugins": ["dht"], "bootstrap": ways_in, "wanted": [each.peer for each in fleet]}
        reply, _ = await look(folder, "look-fleet", request)
        report.add("providers found before", "nodes", [len(reply["found"])])
        # Always the same ones, so that two runs can be compared.
        killed = [fleet[0], *random.Random(1).sample(fleet[2:], amounts.killed - 1)]
        async with anyio.create_task_group() as tasks:
            for each in killed:
                tasks.start_soon(each.child.kill)
        live = {each.peer for each in fleet} - {each.peer for each in killed}
        say(f"{len(killed)} killed")
        reply, _ = await look(folder, "look-after", {**request, "wanted": sorted(live)})
        found = {peer: at - reply["opened"] for peer, at in reply["found"].items() if peer in live}
        if len(found) < len(live):
            say(f"{len(found)} of {len(live)} found in {_LOOK_SECONDS:g} s by {reply['where']}")
        report.add("live providers found", "nodes", [len(found)])
        report.add(
            "until half of the live ones were found", "s", [statistics.median([*found.values()] or [_LOOK_SECONDS])]
        )
        report.add("until the last one was found", "s", [max(found.values(), default=_LOOK_SECONDS)])


def _home(folder: Path, name: str) -> Path:
    home = folder / name
    home.mkdir(mode=0o700, exist_ok=True)
    return home
