"""A process with a runtime, as a node has one: ``python -m tests.bench.inside RUNTIME ISOLATION HOME``.

Asked in lines of JSON. ``{"prepare": FILE}`` prepares the module in FILE. ``{"jobs": N, "at_once": M}`` runs N
hello jobs, M at a time; ``{"run": FILE, "stdin": TEXT}`` runs a module once.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from plasm.drivers import DriverUnavailable, Scope
from plasm.jobs.manifest import sha256
from plasm.ports import Invocation, Limits, Runtime, Verdict
from plasm.registry import load_registry
from plasm.testing import make_scope
from tests.bench.bare import WrongResult, check
from tests.bench.conversing import requests, say
from tests.bench.programs import HELLO, binary

SLOTS = 2
_LIMITS = Limits(wall_seconds=120.0)


async def run_jobs(runtime: Runtime, count: int, at_once: int) -> dict[str, Any]:
    """Hello jobs, each its own input, its output checked."""
    module = sha256(binary(HELLO))
    numbers = iter(range(count))
    latencies = []

    async def work() -> None:
        for number in numbers:
            stdin = b"job %d" % number
            asked = time.monotonic()
            outcome = await runtime.run(Invocation(module=module, stdin=stdin, trusted=True))
            latencies.append(time.monotonic() - asked)
            check(stdin, outcome.stdout)

    began = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for _ in range(at_once):
            tasks.start_soon(work)
    return {"began": began, "ended": time.monotonic(), "latencies": latencies}


async def run_once(runtime: Runtime, path: Path, stdin: bytes) -> dict[str, Any]:
    """Seconds of the whole, and those that the runtime reports."""
    module = sha256(binary(path))
    asked = time.monotonic()
    outcome = await runtime.run(Invocation(module=module, stdin=stdin, limits=_LIMITS, trusted=True))
    seconds = time.monotonic() - asked
    if outcome.verdict is not Verdict.EXITED:
        raise WrongResult(f"{path.name} ended as {outcome.verdict}: {outcome.detail}")
    stdout = outcome.stdout[:80].decode()
    return {"seconds": seconds, "reported": outcome.usage.wall_seconds, "stdout": stdout}


async def prepare(runtime: Runtime, path: Path) -> dict[str, Any]:
    content = binary(path)
    asked = time.monotonic()
    await runtime.prepare(sha256(content), content)
    return {"seconds": time.monotonic() - asked}


async def converse(name: str, isolation: str, home: Path) -> None:
    registered = load_registry().find("runtime", name)
    if registered is None:
        say({"unavailable": "it is not installed"})
        return
    driver: Any = registered.driver
    scope: Scope = make_scope(home=home, log=logging.getLogger("plasm.bench"))
    asked = requests()
    try:
        async with driver.open(scope, driver.options(isolation=isolation, slots=SLOTS)) as runtime:
            await prepare(runtime, HELLO)
            say({"ready": True})
            while (request := await anyio.to_thread.run_sync(next, asked, None)) is not None:
                if "prepare" in request:
                    say(await prepare(runtime, Path(request["prepare"])))
                elif "run" in request:
                    say(await run_once(runtime, Path(request["run"]), request["stdin"].encode()))
                else:
                    say(await run_jobs(runtime, request["jobs"], request["at_once"]))
    except DriverUnavailable as error:
        say({"unavailable": str(error)})


if __name__ == "__main__":
    anyio.run(converse, sys.argv[1], sys.argv[2], Path(sys.argv[3]), backend="trio")
