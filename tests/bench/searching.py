"""How soon nodes are found, from a first one to the rest of a fleet that lost some."""

from __future__ import annotations

import json
import random
import statistics
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

from tests.bench.amounts import Amounts
from tests.bench.figures import Report
from tests.bench.processes import CONFIG, START_SECONDS, ChildFailed, NodeProcess, child, home, node

_LOOK_SECONDS = 30.0


async def measure_looks(amounts: Amounts, folder: Path, report: Report) -> None:
    """A client process that starts looking, until it finds the first node: by dht through a way in, and by mdns."""
    report.say("looking for a first node")
    rounds: dict[str, list[float]] = {}
    cases: list[tuple[str, list[str], list[NodeProcess]]]
    async with (
        node("way-in", folder, config=CONFIG) as way_in,
        node("dht-node", folder, config=CONFIG, peers=[way_in.address]) as by_dht,
        node("mdns-node", folder, config=CONFIG, arguments=["--profile", "local"]) as by_mdns,
    ):
        cases = [
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
    for name, _, _ in cases:
        report.ask(f"first node found by {name}, s", report.figures[f"first node by {name}"].value, 2)


async def look(folder: Path, name: str, request: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What a looking process found, and when that process was born."""
    arguments = ["tests.bench.looking", str(home(folder, name)), str(_LOOK_SECONDS), json.dumps(request)]
    async with child(name, folder, arguments) as looking:
        return await looking.reply(_LOOK_SECONDS + START_SECONDS), looking.born


async def measure_fleet(amounts: Amounts, folder: Path, report: Report) -> None:
    """Nodes that know of two ways in; some are killed, one of the two among them; a newcomer looks for the rest."""
    report.say(f"starting {amounts.fleet} nodes")
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
        report.say(f"{len(killed)} killed")
        reply, _ = await look(folder, "look-after", {**request, "wanted": sorted(live)})
        found = {peer: at - reply["opened"] for peer, at in reply["found"].items() if peer in live}
        if len(found) < len(live):
            report.say(f"{len(found)} of {len(live)} found in {_LOOK_SECONDS:g} s by {reply['where']}")
        report.add("live providers found", "nodes", [len(found)])
        report.add(
            "until half of the live ones were found", "s", [statistics.median([*found.values()] or [_LOOK_SECONDS])]
        )
        report.add("until the last one was found", "s", [max(found.values(), default=_LOOK_SECONDS)])
        asked = f"live providers found, of {amounts.fleet} with {amounts.killed} killed"
        report.ask(asked, len(found), amounts.fleet - amounts.killed, at_least=True)
