"""``python -m tests.soak``: a node killed at random instants, and an hour of mixed jobs; exits 1 on any failure."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import anyio

from plasm.errors import leaves
from tests.bench.processes import ChildFailed
from tests.soak.figures import Figures
from tests.soak.killing import KillSoak
from tests.soak.mixed import MixedSoak

_CONFIG = """[node]
slots = 2
trust = "anyone"

[runtime.wasmtime]
isolation = "{isolation}"
slots = 2
"""
_QUICK_MINUTES = 1.0
_INTERRUPTED = 130

Say = Callable[[str], None]


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="The long versions of the fault tests.")
    parser.add_argument("--minutes", type=float, default=60.0, help="of both parts together, setting up aside")
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--only", choices=("kill", "mixed"), help="one part, which gets all of the time")
    parser.add_argument("--isolation", choices=("cell", "reused"), default="cell", help="of the node's runtime")
    parser.add_argument("--run", default=secrets.token_hex(4), help="names the jobs and the instants of the kills")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    minutes = _QUICK_MINUTES if arguments.quick else arguments.minutes
    parts = (arguments.only,) if arguments.only else ("kill", "mixed")
    figures = Figures()
    config = _CONFIG.format(isolation=arguments.isolation)
    _say(f"run {arguments.run}: {' and '.join(parts)}, {minutes:g} minutes; Ctrl-C ends it early")
    with tempfile.TemporaryDirectory(prefix="plasm-soak-") as folder:
        anyio.run(_soak, parts, 60 * minutes / len(parts), Path(folder), config, arguments.run, figures, backend="trio")
    print(figures.as_table())
    document = json.dumps(figures.as_document(), indent=1)
    if arguments.json is not None:
        arguments.json.write_text(document + "\n")
    else:
        print(document)
    if not figures.passed:
        return 1
    return _INTERRUPTED if figures.interrupted else 0


async def _soak(parts: tuple[str, ...], seconds: float, folder: Path, config: str, run: str, figures: Figures) -> None:
    stop = anyio.Event()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def end_early() -> None:
                async for _ in signals:
                    if stop.is_set():
                        tasks.cancel_scope.cancel()
                        return
                    figures.interrupted = True
                    stop.set()
                    _say("ending; once more stops at once")

            tasks.start_soon(end_early)
            for part in parts:
                if not stop.is_set():
                    _say(f"{part}: {seconds:.0f} s")
                    await _part(part, seconds, folder, config, run, figures, stop)
            tasks.cancel_scope.cancel()


async def _part(
    part: str, seconds: float, folder: Path, config: str, run: str, figures: Figures, stop: anyio.Event
) -> None:
    soak: KillSoak | MixedSoak
    if part == "kill":
        soak = kill = KillSoak(folder / part, config, run)
        figures.kill = kill.figures
    else:
        soak = mixed = MixedSoak(folder / part, config, run)
        figures.mixed = mixed.figures
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
