"""The attackers' process: ``python -m tests.soak.siege.attackers KIND ADDRESS``, until its stdin is closed.

It says ``{"ready": true}`` when it begins, and at the end what it did.
"""

from __future__ import annotations

import logging
import resource
import sys

import trio

from tests.bench.conversing import say
from tests.soak.siege.attack import Attack
from tests.soak.siege.attacks import KINDS, everything


async def attack_until_told(kind: str, address: str) -> None:
    attack = Attack(address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon({**KINDS, "everything": everything}[kind], attack)
        say({"ready": True})
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()
    say({"done": dict(attack.done)})


if __name__ == "__main__":
    logging.disable()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    trio.run(attack_until_told, sys.argv[1], sys.argv[2])
