"""A node inside a program of your own: it takes jobs, and a second one sends it one.

    python examples/embed_node.py MODULE.wasm

Two nodes are opened here, in one event loop, each with a home of its own; the second one finds the first over the DHT
and has it run MODULE. The event loop must be trio, as libp2p wants it; a program on asyncio speaks with a running node
over its control socket instead (`plasm.control.remote.RemoteJobs`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio

from plasm.config import NodeSettings
from plasm.home import Home
from plasm.host import open_node
from plasm.jobs.conversation import Submission
from plasm.jobs.manifest import Job, Manifest, sha256
from plasm.node import open_plan
from plasm.plan import Plan, make_plan
from plasm.registry import load_registry

PORTS = ("signer", "store", "transport", "discovery", "runtime")
LISTEN = ("/ip4/127.0.0.1/tcp/0",)


def plan_for(home: Path) -> Plan:
    """The drivers of the profile `internet`, on a home of its own."""
    return make_plan(load_registry(), ports=PORTS, profile="internet", home=Home(home))


async def main(module: bytes, folder: Path) -> None:
    settings = NodeSettings()
    first, second = plan_for(folder / "first"), plan_for(folder / "second")
    async with open_plan(first, listen=LISTEN) as ports, open_node(ports, settings, first.home) as worker:
        way_in = worker.addresses
        async with (
            open_plan(second, listen=LISTEN, bootstrap=way_in) as other_ports,
            open_node(other_ports, settings, second.home) as sender,
        ):
            submission = Submission(job=Job(manifest=Manifest(module_hash=sha256(module))), module=module)
            delivered = await sender.client.submit(
                submission, name="embedded", report=lambda event: print(event.kind, event.node, file=sys.stderr)
            )
            print(f"{delivered.node} wrote: {delivered.stdout.decode()}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        anyio.run(main, Path(sys.argv[1]).read_bytes(), Path(temporary), backend="trio")
