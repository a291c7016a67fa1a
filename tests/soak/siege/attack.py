"""What every attack needs: whom it attacks, what it counts, and how it comes from many addresses."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import trio
from libp2p.exceptions import BaseLibp2pError
from plasm_libp2p.transport import Libp2p
from plasm_libp2p.yamux import YamuxConnection

from plasm.ports import PortError
from tests.soak.siege.strangers import ADDRESSES, address_of, connect, stranger

FAILURES = (PortError, BaseLibp2pError, OSError, trio.TooSlowError)
"""How a node turns an attacker away; anything else is a defect of the attack, and ends it."""
PAUSE_SECONDS = 0.1


@dataclass
class Attack:
    """The node that is attacked, and what was done to it."""

    node: str
    """Its multiaddr, ending in ``/p2p/PEER``."""
    done: Counter[str] = field(default_factory=Counter)

    async def turned_away(self, error: BaseException) -> None:
        """The node did not take it: count that, and do not ask again at once."""
        self.done[f"turned away: {type(error).__name__}"] += 1
        await trio.sleep(PAUSE_SECONDS)


Kind = Callable[[Attack], Awaitable[None]]


async def from_each(attack: Attack, one: Callable[[Attack, str], Awaitable[None]], times: int) -> None:
    """Do `one` again and again from each address, `times` at once."""

    async def again(source: str) -> None:
        while True:
            try:
                await one(attack, source)
            except* FAILURES as errors:
                await attack.turned_away(errors.exceptions[0])

    async with trio.open_nursery() as nursery:
        for _, number in itertools.product(range(times), range(ADDRESSES)):
            nursery.start_soon(again, address_of(number))


@contextlib.asynccontextmanager
async def connected(attack: Attack, source: str) -> AsyncIterator[tuple[Libp2p, YamuxConnection]]:
    async with stranger() as transport:
        yield transport, await connect(transport, attack.node, source)
