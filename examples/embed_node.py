"""A node inside a program of your own: it takes jobs, and a second one sends it one.

    python examples/embed_node.py MODULE.wasm

Two nodes are opened here, in one event loop, each with a home of its own; the second one finds the first over the DHT
and has it run MODULE. The event loop must be trio, as libp2p wants it; a program on asyncio sends jobs by way of a node
in another process instead: `plasm.embedding.jobs_of(home)`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio

from plasm.embedding import PlasmError, embedded_node
from plasm.ports import Verdict

LISTEN = ("/ip4/127.0.0.1/tcp/0",)


async def main(module: bytes, folder: Path) -> int:
    async with (
        embedded_node(folder / "first", profile="internet", listen=LISTEN) as worker,
        embedded_node(folder / "second", profile="internet", listen=LISTEN, bootstrap=worker.addresses) as sender,
    ):
        result = await sender.submit(module, report=lambda kind, node: print(kind, node, file=sys.stderr))
    if result.verdict is not Verdict.EXITED:
        print(f"{result.node} says: {result.verdict.value}", file=sys.stderr)
        return 1
    print(f"{result.node} wrote: {result.stdout.decode(errors='backslashreplace')}")
    return result.exit_code or 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python examples/embed_node.py MODULE.wasm", file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            sys.exit(anyio.run(main, Path(sys.argv[1]).read_bytes(), Path(temporary), backend="trio"))
        except (PlasmError, OSError) as error:
            sys.exit(str(error))
