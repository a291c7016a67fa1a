"""The honest client's process: ``python -m tests.soak.siege.honest HOME ADDRESS``; asked in lines of JSON.

``{"seconds": N}`` has one job after another run for N seconds, each way: on a connection that is kept, on a new one by
a new identity, and on a node that is found through ADDRESS by the DHT. The reply has the seconds that each took, and
what failed.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from plasm.errors import leaves
from plasm.jobs.client import Client
from plasm.jobs.conversation import Submission
from plasm.jobs.manifest import Job, Manifest, sha256
from tests.bench.conversing import requests, say
from tests.bench.opening import opened, plan_for
from tests.bench.programs import HELLO

JOB_SECONDS = 20.0
"""Whoever waits longer for hello.wasm has been shut out."""
_PAUSE_SECONDS = 0.05
_KEPT_A_ROUND = 10
WAYS = ("kept", "fresh", "found")


class Latencies:
    """Seconds of what succeeded, by way, and what did not."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        self.failures: dict[str, list[str]] = {way: [] for way in WAYS}

    async def job(self, way: str, client: Client, peers: Sequence[str]) -> None:
        """Have one job run by one of `peers`, or by a node that is found."""
        began = time.monotonic()
        try:
            with anyio.fail_after(JOB_SECONDS):
                module, stdin = HELLO.read_bytes(), b"honest %d" % time.monotonic_ns()
                job = Job(manifest=Manifest(module_hash=sha256(module)), stdin=sha256(stdin))
                submission = Submission(job=job, module=module, stdin=stdin)
                delivered = await client.submit(
                    submission, name="hello.wasm", report=lambda event: None, peers=tuple(peers)
                )
                if delivered.stdout.strip() != stdin[::-1]:
                    raise ValueError(f"the output is {delivered.stdout[:60]!r}")
        except Exception as error:
            self.failures[way].append(f"{time.monotonic() - began:.1f} s: {next(leaves(error))!r}"[:300])
        else:
            self.seconds[way].append(time.monotonic() - began)


async def work(home: Path, kept: Client, address: str, seconds: float) -> dict[str, Any]:
    """Jobs for `seconds`, each way in turn."""
    latencies = Latencies()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(_KEPT_A_ROUND):
            await latencies.job("kept", kept, (address,))
            await anyio.sleep(_PAUSE_SECONDS)
            if time.monotonic() > until:
                break
        async with opened(plan_for(home, ("signer:ephemeral",))) as (_, client):
            await latencies.job("fresh", client, (address,))
        async with opened(plan_for(home, ("signer:ephemeral", "dht")), (address,)) as (_, client):
            await latencies.job("found", client, ())
    return {"seconds": latencies.seconds, "failures": latencies.failures}


async def converse(home: Path, address: str) -> None:
    asked = requests()
    async with opened(plan_for(home)) as (_, client):
        say({"ready": True})
        while (request := await anyio.to_thread.run_sync(next, asked, None)) is not None:
            say(await work(home, client, address, request["seconds"]))


if __name__ == "__main__":
    logging.disable()
    anyio.run(converse, Path(sys.argv[1]), sys.argv[2], backend="trio")
