"""What a node holds after many jobs, half of them in reused and half in isolated cells."""

from __future__ import annotations

from pathlib import Path

import anyio

from tests.bench.amounts import Amounts
from tests.bench.figures import Report
from tests.bench.processes import NodeProcess, node
from tests.bench.remote import ROUND_SECONDS, Clients
from tests.soak.growth import Watch

CONFIG = """[node]
slots = 2
trust = [{trusted}]

[runtime.wasmtime]
isolation = "reused"
slots = 2
"""
ALLOWED: dict[str, tuple[str, float]] = {
    "memory": ("MiB", 8.0),
    "memory of its processes": ("MiB", 16.0),
    "descriptors": ("", 4.0),
    "threads": ("", 4.0),
    "processes": ("", 2.0),
}
"""Unit of each quantity and by how much it may rise; a leak of half a kilobyte in each of 20,000 jobs is more."""
_WARM_UP = 10
"""A tenth of the jobs come before the first look: imports, caches and pools fill."""
_LEAST_WARM_UP = 50
"""Of each client, so that every slot has had jobs of both kinds."""
_TURNS = 20
_SAID = 5
_REST_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_QUIET_LOOKS = 4


async def measure_memory(amounts: Amounts, clients: Clients, peers: list[str], folder: Path, report: Report) -> None:
    """`clients` work at once on a node of its own, which trusts every other one of them."""
    trusted = ", ".join(f'"{peer}"' for peer in peers[::2])
    async with node("lasting", folder, config=CONFIG.format(trusted=trusted)) as served:
        watch = Watch(served.child.pid, served.home)
        each = amounts.memory_jobs // len(clients)
        await _work(clients, served, max(_LEAST_WARM_UP, each // _WARM_UP))
        before = await _rest(watch)
        report.say(f"{amounts.memory_jobs} jobs on one node")
        for turn in range(1, _TURNS + 1):
            await _work(clients, served, each // _TURNS)
            if turn % _SAID == 0:
                report.say(f"{100 * turn // _TURNS} %")
        after = await _rest(watch)
    report.add("jobs while memory was watched", "jobs", [each // _TURNS * _TURNS * len(clients)])
    for name, (unit, allowed) in ALLOWED.items():
        report.add(f"node's {name} before", unit, [before[name]])
        report.add(f"node's {name} after", unit, [after[name]])
        report.ask(f"node's {name}, rise{f' in {unit}' if unit else ''}", after[name] - before[name], allowed)


async def _work(clients: Clients, served: NodeProcess, jobs_each: int) -> None:
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.ask, {"jobs": jobs_each, "address": served.address}, ROUND_SECONDS)


async def _rest(watch: Watch) -> dict[str, float]:
    """What it holds once processes and descriptors stay the same, or at last."""
    looks = [watch.sample()]
    with anyio.move_on_after(_REST_SECONDS):
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            looks.append(watch.sample())
            counted = {(look["processes"], look["descriptors"]) for look in looks[-_QUIET_LOOKS:]}
            if len(looks) >= _QUIET_LOOKS and len(counted) == 1:
                break
    return looks[-1]
