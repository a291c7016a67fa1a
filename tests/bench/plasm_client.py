"""A client process of Plasm: ``python -m tests.bench.plasm_client HOME ADDRESS``; asked in lines of JSON.

``{"jobs": N}`` runs N jobs one after another on the node at ADDRESS, or at the ``address`` that is asked for;
``{"connections": N}`` connects N times anew.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from plasm.identity import peer_of_address
from plasm.jobs.client import Client
from plasm.jobs.conversation import Submission
from plasm.jobs.manifest import Job, Manifest, sha256
from plasm.jobs.messages import PROTOCOL
from plasm.node import open_plan
from tests.bench.bare import check
from tests.bench.conversing import requests, say
from tests.bench.opening import opened, plan_for
from tests.bench.programs import HELLO


async def run_jobs(client: Client, address: str, count: int) -> dict[str, Any]:
    """`count` jobs one after another: each its own input and nonce, its receipt verified, its output checked."""
    module = HELLO.read_bytes()
    manifest = Manifest(module_hash=sha256(module))
    latencies = []
    began = time.monotonic()
    for number in range(count):
        stdin = b"job %d" % number
        asked = time.monotonic()
        delivered = await client.submit(
            Submission(job=Job(manifest=manifest, stdin=sha256(stdin)), module=module, stdin=stdin),
            name="hello.wasm",
            report=lambda event: None,
            peers=(address,),
        )
        latencies.append(time.monotonic() - asked)
        check(stdin, delivered.stdout)
    return {"began": began, "ended": time.monotonic(), "latencies": latencies}


async def connect(home: Path, address: str, count: int) -> dict[str, Any]:
    """Seconds until a stream of the job protocol is open, each time from a new identity without any connection."""
    latencies = []
    for _ in range(count):
        async with open_plan(plan_for(home, ("signer:ephemeral",))) as ports:
            _, transport = ports.transports[0]
            asked = time.monotonic()
            stream = await transport.open_stream(peer_of_address(address), [address], PROTOCOL)
            latencies.append(time.monotonic() - asked)
            await stream.aclose()
    return {"latencies": latencies}


async def converse(home: Path, address: str) -> None:
    asked = requests()
    async with opened(plan_for(home)) as (ports, client):
        say({"ready": True, "peer": ports.peer})
        while (request := await anyio.to_thread.run_sync(next, asked, None)) is not None:
            if "connections" in request:
                say(await connect(home, address, request["connections"]))
            else:
                say(await run_jobs(client, request.get("address", address), request["jobs"]))


if __name__ == "__main__":
    anyio.run(converse, Path(sys.argv[1]), sys.argv[2], backend="trio")
