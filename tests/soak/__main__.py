"""``python -m tests.soak``: kills of a node and its cells, mixed jobs, a siege, requests, generated programs.

Exits 1 on any failure.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from plasm.errors import leaves
from tests.bench.processes import ChildFailed
from tests.soak.cells import CellSoak
from tests.soak.figures import Figures
from tests.soak.generated import GeneratedSoak
from tests.soak.killing import KillSoak
from tests.soak.mixed import MixedSoak
from tests.soak.requests import RequestSoak
from tests.soak.siege.part import SiegeSoak

_CONFIG = """[node]
slots = 2
trust = "anyone"

[runtime.wasmtime]
isolation = "{isolation}"
slots = 2
"""
_QUICK_MINUTES = 1.0
_JOBS = 10_000
_REQUESTS = 10_000
_PROGRAMS = 100_000
_SHARES = {"kill": 17.0, "mixed": 17.0, "cells": 10.0, "siege": 8.0, "requests": 3.0, "generated": 5.0}
"""The parts, in minutes of an hour."""
_INTERRUPTED = 130

Say = Callable[[str], None]
Soak = KillSoak | MixedSoak | CellSoak | RequestSoak | SiegeSoak | GeneratedSoak


def config_of(isolation: str) -> str:
    """The configuration of the nodes."""
    return _CONFIG.format(isolation=isolation)


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="The long versions of the fault tests.")
    parser.add_argument("--minutes", type=float, default=60.0, help="of all parts together, setting up aside")
    parser.add_argument("--quick", action="store_true", help="one minute, and as many jobs as go into it")
    parser.add_argument("--only", choices=tuple(_SHARES), help="one part, which gets all of the time")
    parser.add_argument("--jobs", type=int, metavar="N", help=f"mixed jobs at least, however long they take ({_JOBS})")
    parser.add_argument("--programs", type=int, metavar="N", help=f"generated ones, likewise ({_PROGRAMS})")
    parser.add_argument("--first", type=int, default=1_000_000, metavar="SEED", help="of the generated programs")
    parser.add_argument("--isolation", choices=("cell", "reused"), default="cell", help="of the node's runtime")
    parser.add_argument("--run", default=secrets.token_hex(4), help="names the jobs and the instants of the kills")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    minutes = _QUICK_MINUTES if arguments.quick else arguments.minutes
    jobs = arguments.jobs if arguments.jobs is not None else 0 if arguments.quick else _JOBS
    requests = 0 if arguments.quick else _REQUESTS
    programs = arguments.programs if arguments.programs is not None else 0 if arguments.quick else _PROGRAMS
    parts = (arguments.only,) if arguments.only else tuple(_SHARES)
    seconds = {part: 60 * minutes * _SHARES[part] / sum(_SHARES[each] for each in parts) for part in parts}
    figures = Figures()
    config = config_of(arguments.isolation)
    _say(f"run {arguments.run}: {' and '.join(parts)}, {minutes:g} minutes; Ctrl-C ends it early")
    with tempfile.TemporaryDirectory(prefix="plasm-soak-") as folder:
        soaks = Soaks(Path(folder), config, arguments.run, jobs, requests, figures, arguments.first, programs)
        anyio.run(_soak, seconds, soaks, backend="trio")
    print(figures.as_table())
    document = json.dumps(figures.as_document(), indent=1)
    if arguments.json is not None:
        arguments.json.write_text(document + "\n")
    else:
        print(document)
    if not figures.passed:
        return 1
    return _INTERRUPTED if figures.interrupted else 0


@dataclass(frozen=True)
class Soaks:
    """How a soak's parts are made; `figures` gets theirs."""

    folder: Path
    config: str
    run: str
    jobs: int
    requests: int
    figures: Figures
    first: int = 0
    """The seed of the first generated program."""
    programs: int = 0

    def make(self, part: str) -> Soak:
        folder = self.folder / part
        if part == "kill":
            kill = KillSoak(folder, self.config, self.run)
            self.figures.kill = kill.figures
            return kill
        if part == "mixed":
            mixed = MixedSoak(folder, self.config, self.run, self.jobs)
            self.figures.mixed = mixed.figures
            return mixed
        if part == "requests":
            requests = RequestSoak(folder, self.run, self.requests)
            self.figures.requests = requests.figures
            return requests
        if part == "siege":
            siege = SiegeSoak(folder, self.config)
            self.figures.siege = siege.figures
            return siege
        if part == "generated":
            generated = GeneratedSoak(self.folder, self.first, self.programs)
            self.figures.generated = generated.figures
            return generated
        cells = CellSoak(folder, self.config, self.run)
        self.figures.cells = cells.figures
        return cells


async def _soak(seconds: Mapping[str, float], soaks: Soaks) -> None:
    stop = anyio.Event()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def end_early() -> None:
                async for _ in signals:
                    if stop.is_set():
                        tasks.cancel_scope.cancel()
                        return
                    soaks.figures.interrupted = True
                    stop.set()
                    _say("ending; once more stops at once")

            tasks.start_soon(end_early)
            for part, share in seconds.items():
                if not stop.is_set():
                    _say(f"{part}: {share:.0f} s")
                    await _part(soaks.make(part), share, stop)
            tasks.cancel_scope.cancel()


async def _part(soak: Soak, seconds: float, stop: anyio.Event) -> None:
    try:
        await soak.go(seconds, stop, _say)
    except Exception as error:
        # What has been counted is told all the same.
        cause = next(leaves(error))
        soak.figures.failures.append(f"{type(cause).__name__}: {cause}")
        if not isinstance(cause, ChildFailed):
            traceback.print_exception(error)


def _say(line: str) -> None:
    print(f"soak {time.strftime('%H:%M:%S')}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
