"""Everything in one run; what is compared alternates."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.bench.amounts import Amounts
from tests.bench.cells import AT_ONCE, measure_cells
from tests.bench.fetching import measure_fetching
from tests.bench.figures import Report
from tests.bench.lasting import measure_memory
from tests.bench.processes import CONFIG, node
from tests.bench.programs import HELLO
from tests.bench.providing import measure_providing
from tests.bench.remote import measure_connecting, measure_remote, plasm_clients
from tests.bench.searching import measure_fleet, measure_looks

PARTS: Final = ("jobs", "boot")


async def measure(amounts: Amounts, folder: Path, say: Callable[[str], None], parts: Collection[str] = PARTS) -> Report:
    """Raises :exc:`~.processes.ChildFailed` or :exc:`~.bare.WrongResult`."""
    settings = {"slots": 2, "isolation": "reused", "module": HELLO.name, "at_once": AT_ONCE}
    report = Report(settings={**asdict(amounts), **settings}, say=say)
    if "jobs" in parts:
        await _measure_jobs(amounts, folder, report)
    if "boot" in parts:
        await measure_providing(amounts, folder, report)
        await measure_fetching(amounts, folder, report)
    return report


async def _measure_jobs(amounts: Amounts, folder: Path, report: Report) -> None:
    await measure_cells(amounts, folder, report)
    report.say("starting a node and clients")
    async with (
        node("node", folder, config=CONFIG) as served,
        plasm_clients(folder, served, amounts.clients) as (clients, peers),
    ):
        await measure_remote(amounts, clients, folder, report)
        await measure_connecting(amounts, clients[0], report)
        if amounts.memory_jobs:
            await measure_memory(amounts, clients, peers, folder, report)
    await measure_looks(amounts, folder, report)
    await measure_fleet(amounts, folder, report)
