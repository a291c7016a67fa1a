"""A client process that looks for nodes: ``python -m tests.bench.looking HOME SECONDS REQUEST``, once.

REQUEST is JSON: ``plugins``, ``bootstrap`` and the peers that are ``wanted``. It ends when all of them were found, or
after SECONDS; what it says holds the time at which each was, on the clock that all processes share, when the ports were
``opened`` and when that ``began``, the import of their libraries included.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import anyio

from plasm.jobs.finding import describe_search, finding, topics_for
from plasm.node import open_plan
from tests.bench.conversing import say
from tests.bench.opening import LOG, RUNTIMES, plan_for


async def look(home: Path, seconds: float, request: dict[str, Any]) -> dict[str, Any]:
    """Look with the driver of discovery that `request` names."""
    wanted = set(request["wanted"])
    found: dict[str, float] = {}
    began = time.monotonic()
    plan = plan_for(home, request["plugins"])
    async with open_plan(plan, bootstrap=tuple(request["bootstrap"])) as ports:
        opened = time.monotonic()
        async with finding(dict(ports.discoveries), topics_for(RUNTIMES, None), LOG) as nodes:
            with anyio.move_on_after(seconds):
                while not wanted <= set(found):
                    node = await nodes.receive()
                    found.setdefault(node.peer, time.monotonic())
        return {"began": began, "opened": opened, "found": found, "where": describe_search(dict(ports.discoveries))}


if __name__ == "__main__":
    say(anyio.run(look, Path(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3]), backend="trio"))
