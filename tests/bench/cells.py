"""Cells beside bare wasmtime-py, without a network: jobs, programs that compute, compiling, host calls."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.bench import bare
from tests.bench.amounts import Amounts
from tests.bench.bare import WrongResult, bare_jobs
from tests.bench.figures import Report, Rounds, percentile
from tests.bench.processes import Child, child, home
from tests.bench.programs import FLOAT, INTEGER, WRITE, generated

AT_ONCE = 8
_SECONDS = 300.0
_OTHER_ENGINES = ("wasm3", "wasmer")
_REUSED = 5
"""Times as many jobs in reused cells, so that a round of them takes about as long."""


@contextlib.asynccontextmanager
async def runtime(folder: Path, name: str, isolation: str, shared: str = "") -> AsyncIterator[tuple[Child, str]]:
    """A process with that runtime, ready, and why it is not where it cannot be had. A home of its own, or `shared`."""
    own = f"{name}-{isolation}"
    arguments = ["tests.bench.inside", name, isolation, str(home(folder, shared or own))]
    async with child(f"{shared}{own}", folder, arguments) as started:
        yield started, str((await started.reply(_SECONDS)).get("unavailable", ""))


async def measure_cells(amounts: Amounts, folder: Path, report: Report) -> None:
    """Everything of this module."""
    async with (
        runtime(folder, "wasmtime", "cell") as (isolated, isolated_lacks),
        runtime(folder, "wasmtime", "reused") as (reused, reused_lacks),
    ):
        if lacks := isolated_lacks or reused_lacks:
            report.note(f"no runtime wasmtime, and nothing of cells: {lacks}")
            return
        report.say("jobs in cells")
        await measure_jobs(amounts, isolated, reused, report)
        report.say("programs that compute")
        await measure_programs(amounts, isolated, report)
        report.say("host calls")
        await measure_writes(amounts, folder, isolated, report)
    report.say("compiling")
    await measure_compiling(amounts, folder, report)


async def measure_jobs(amounts: Amounts, isolated: Child, reused: Child, report: Report) -> None:
    """One after another and several at once, after some that do not count."""
    bare_jobs(20)
    for each in (isolated, reused):
        await each.ask({"jobs": 40, "at_once": AT_ONCE}, _SECONDS)
    rounds = Rounds()
    cells = (("isolated", isolated, 1), ("reused", reused, _REUSED))
    for _ in range(amounts.rounds):
        latencies = bare_jobs(amounts.jobs)
        for percent in (50, 99):
            rounds.note(f"bare wasmtime-py, p{percent}", "ms", 1000 * percentile(latencies, percent))
        for name, cell, _ in cells:
            reply = await cell.ask({"jobs": amounts.jobs, "at_once": 1}, _SECONDS)
            for percent in (50, 99):
                rounds.note(f"{name} cell, p{percent}", "ms", 1000 * percentile(reply["latencies"], percent))
        for name, cell, times in cells:
            count = amounts.node_jobs * times
            reply = await cell.ask({"jobs": count, "at_once": AT_ONCE}, _SECONDS)
            rounds.note(f"{name} cells in a node", "jobs/s", count / (reply["ended"] - reply["began"]))
    report.add_all(rounds)
    for name, most in (("isolated", 5.0), ("reused", 0.5)):
        for percent in (50, 99):
            report.difference(f"{name} cell, p{percent}", f"bare wasmtime-py, p{percent}")
        figure = f"{name} cell, p50, over bare"
        report.ask(f"{name} cell, p50 over bare, ms", report.figures[figure].value, most)
    speed = report.figures["isolated cells in a node"].value
    report.ask("isolated cells in a node, jobs per second", speed, 400, at_least=True)


async def measure_programs(amounts: Amounts, isolated: Child, report: Report) -> None:
    """A second or so of work each, the whole job against bare wasmtime-py with its default settings."""
    rounds = Rounds()
    programs = (("integer program", INTEGER), ("float program", FLOAT))
    for _, path in programs:
        await isolated.ask({"prepare": str(path)}, _SECONDS)
        bare.run(path)
    for _ in range(amounts.program_rounds):
        for name, path in programs:
            began = time.monotonic()
            stdout = bare.run(path)
            rounds.note(f"{name}, bare", "s", time.monotonic() - began)
            reply = await isolated.ask({"run": str(path), "stdin": ""}, _SECONDS)
            if reply["stdout"].encode() != stdout[:80]:
                raise WrongResult(f"{path.name} wrote {reply['stdout']!r} in a cell and {stdout[:80]!r} bare")
            rounds.note(f"{name}, isolated cell", "s", reply["seconds"])
    report.add_all(rounds)
    for name, _ in programs:
        report.quotient(f"{name}, isolated cell", f"{name}, bare")
    slower = report.figures["integer program, isolated cell by bare"].value
    report.ask("integer program, isolated cell by bare", slower, 1.15)


async def measure_compiling(amounts: Amounts, folder: Path, report: Report) -> None:
    """A large module, each time another one: compiled by one runtime, then found in the cache by another."""
    rounds = Rounds()
    async with (
        runtime(folder, "wasmtime", "cell", shared="compiled") as (compiles, _),
        runtime(folder, "wasmtime", "reused", shared="compiled") as (loads, _),
    ):
        for number in range(amounts.modules):
            path = folder / f"generated-{number}.wasm"
            path.write_bytes(generated(amounts.functions, number))
            rounds.note("generated module", "KiB", path.stat().st_size / 1024)
            reply = await compiles.ask({"prepare": str(path)}, _SECONDS)
            rounds.note("compile it", "ms", 1000 * reply["seconds"])
            reply = await loads.ask({"prepare": str(path)}, _SECONDS)
            rounds.note("load it from the cache", "ms", 1000 * reply["seconds"])
            reply = await loads.ask({"run": str(path), "stdin": ""}, _SECONDS)
            rounds.note("first job of it in a cell", "ms", 1000 * reply["seconds"])
    report.add_all(rounds)
    report.quotient("compile it", "load it from the cache")


async def measure_writes(amounts: Amounts, folder: Path, isolated: Child, report: Report) -> None:
    """What one ``fd_write`` of one byte costs: a run with many of them less a run with none."""
    rounds = Rounds()
    async with contextlib.AsyncExitStack() as stack:
        engines = {"wasmtime": isolated}
        for name in _OTHER_ENGINES:
            started, lacks = await stack.enter_async_context(runtime(folder, name, "cell"))
            if lacks:
                report.note(f"no figures of the runtime {name}: {lacks}")
            else:
                engines[name] = started
        for each in engines.values():
            await each.ask({"prepare": str(WRITE)}, _SECONDS)
        for _ in range(amounts.rounds):
            spent = [_bare_writes(count) for count in (0, amounts.writes)]
            rounds.note("fd_write, bare wasmtime-py's own", "µs", 1e6 * (spent[1] - spent[0]) / amounts.writes)
            for name, each in engines.items():
                spent = []
                for count in (0, amounts.writes):
                    reply = await each.ask({"run": str(WRITE), "stdin": str(count)}, _SECONDS)
                    spent.append(reply["seconds"])
                rounds.note(f"fd_write in a cell, {name}", "µs", 1e6 * (spent[1] - spent[0]) / amounts.writes)
    report.add_all(rounds)


def _bare_writes(count: int) -> float:
    began = time.monotonic()
    if len(bare.run(WRITE, str(count).encode())) != count:
        raise WrongResult(f"{count} bytes did not come back")
    return time.monotonic() - began
