"""Asking many nodes at once what they are: strangers share the places by network, and a silent one gives its up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import anyio
import anyio.lowlevel

from plasm.jobs.patience import Patience
from plasm.ports import Found, PeerId
from plasm.shares import Origin, Places, networks_named

MOST_WAITING = 1024
"""Nodes that were found and not asked yet. Above that one goes, chosen among those of the network that has most."""
_MOST_ADDRESSES = 64


class Probes:
    """Has `ask` called for each node that is put in, until cancelled.

    Nodes of networks that were asked least come first, and among those the one that came first. An address is a
    stranger's word until it is dialed, so a node counts for the most asked one of all the networks that it names.
    """

    def __init__(
        self, ask: Callable[[Found], Awaitable[None]], patience: Patience, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._ask = ask
        self._patience = patience
        self._waiting: dict[PeerId, Found] = {}
        self._places = Places[PeerId](most_waiting)
        self._asked: dict[PeerId, Found] = {}
        self._since: dict[PeerId, float] = {}
        self._networks: Counter[str] = Counter()
        self._changed = anyio.Event()
        self._last = -math.inf
        """When somebody was asked last."""

    @property
    def unanswered(self) -> list[Found]:
        """Those that wait to be asked, and those that were asked and have not answered."""
        return [*self._asked.values(), *self._waiting.values()]

    def put(self, found: Found) -> None:
        """Ask `found`, in place of what waits for its peer."""
        earlier = self._waiting.get(found.peer)
        if earlier is not None:
            addresses = tuple(dict.fromkeys((*earlier.addresses, *found.addresses)))[:_MOST_ADDRESSES]
            found = Found(found.peer, addresses, found.source, found.properties)
        else:
            network = min(networks_named(found.addresses))
            victim = self._places.enter(found.peer, Origin(network=network, peer=found.peer))
            if victim is not None:
                self._waiting.pop(victim, None)
            if victim == found.peer:
                return
        self._waiting[found.peer] = found
        self._changed.set()

    def drop(self, peers: Iterable[PeerId]) -> None:
        """Ask none of `peers` that wait."""
        for peer in peers:
            self._waiting.pop(peer, None)
            self._places.leave(peer)

    def put_back(self) -> None:
        """Those whose asking was cancelled are asked anew by the next :meth:`run`."""
        for found in self._asked.values():
            self.put(found)
        self._asked.clear()
        self._since.clear()

    async def run(self) -> None:
        """Ask until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self._room()
                found = self._next()
                self._asked[found.peer] = found
                self._last = self._since[found.peer] = anyio.current_time()
                self._networks.update(networks_named(found.addresses))
                tasks.start_soon(self._one, found)

    async def _one(self, found: Found) -> None:
        await self._ask(found)
        del self._asked[found.peer]
        self._since.pop(found.peer, None)
        self._changed.set()

    async def _room(self) -> None:
        """Until there is somebody to ask, and a place to ask from."""
        while True:
            self._changed = anyio.Event()
            now = anyio.current_time()
            held = sorted(since for since in self._since.values() if now - since < self._patience.place_seconds)
            room = len(self._asked) < self._patience.most_waited_for and self._eligible()
            place = len(held) < self._patience.places
            pause = self._last + self._patience.pause_seconds - now
            if room and place and (len(held) < self._patience.places_at_once or pause <= 0):
                await anyio.lowlevel.checkpoint()
                return
            until = None
            if room:
                until = pause if place else held[0] + self._patience.place_seconds - now
            with anyio.move_on_after(until):
                await self._changed.wait()

    def _eligible(self) -> list[Found]:
        return [found for peer, found in self._waiting.items() if peer not in self._asked]

    def _next(self) -> Found:
        found = min(
            self._eligible(),
            key=lambda each: max(self._networks[network] for network in networks_named(each.addresses)),
        )
        self._places.leave(found.peer)
        return self._waiting.pop(found.peer)
