"""Who is connected, who makes room for whom, and how often each may ask."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from plasm.shares import Allowances, Origin, Shares
from plasm_provider.httpd.limits import Limits


@dataclass(eq=False)
class Guest:
    """One connection."""

    origin: Origin
    dismiss: Callable[[], None]
    """Ends the connection; may be called more than once."""
    number: int = field(default_factory=itertools.count().__next__)


class Crowd:
    """The connections of a server, within its limits.

    A newcomer for whom there is no room takes the place of a connection of whoever holds most: of the network with most
    connections, and there of the address with most, the one that has been idle for longest, else the oldest. An address
    has a limit of its own too, within which its idle connections make room for its next ones. So neither idle
    connections nor one client's slow downloads keep others out, and whoever holds most is turned away.
    """

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._guests: dict[Guest, None] = {}
        self._idle: OrderedDict[Guest, None] = OrderedDict()
        self._shares = Shares()
        rate = limits.requests_per_second
        self._allowances = Allowances(rate, rate, limits.clients_remembered, now)

    def __len__(self) -> int:
        return len(self._guests)

    def admit(self, origin: Origin, dismiss: Callable[[], None]) -> Guest | None:
        """A place for a new connection, idle at first; ``None`` where there is none."""
        if self._shares.of(origin.network, origin.address) >= self._limits.connections_per_client:
            victim = next((guest for guest in self._idle if guest.origin == origin), None)
        elif len(self._guests) >= self._limits.connections:
            victim = self._crowding(origin)
        else:
            return self._enter(Guest(origin, dismiss))
        if victim is None:
            return None
        self.leave(victim)
        victim.dismiss()
        return self._enter(Guest(origin, dismiss))

    def leave(self, guest: Guest) -> None:
        """The connection has ended, or is about to; idempotent."""
        if guest not in self._guests:
            return
        del self._guests[guest]
        self._idle.pop(guest, None)
        self._shares.give(guest.origin)

    def works(self, guest: Guest) -> None:
        """It is being answered."""
        self._idle.pop(guest, None)

    def rests(self, guest: Guest) -> None:
        """It has been answered."""
        if guest in self._guests:
            self._idle[guest] = None

    def dismiss_longest_idle(self) -> None:
        """Make room of which nobody was told yet, such as a descriptor."""
        victim = next(iter(self._idle), None)
        if victim is not None:
            self.leave(victim)
            victim.dismiss()

    def dismiss_idle(self) -> None:
        """Let all go that are not being answered."""
        while self._idle:
            self.dismiss_longest_idle()

    def may_ask(self, origin: Origin) -> bool:
        """Whether that client may ask once more at this moment, which counts as having asked."""
        return self._allowances.spend(origin.address or origin.network)

    def _enter(self, guest: Guest) -> Guest:
        self._guests[guest] = None
        self._idle[guest] = None
        self._shares.take(guest.origin)
        return guest

    def _crowding(self, newcomer: Origin) -> Guest | None:
        # Counted with the newcomer, who must not gain by coming once more.
        self._shares.take(newcomer)
        try:
            greediest = self._shares.greediest()
            assert greediest is not None
            most = self._held(greediest)
            idle = next((guest for guest in self._idle if self._held(guest.origin) == most), None)
            if idle is not None or self._held(newcomer) == most:
                return idle
            return next(guest for guest in self._guests if self._held(guest.origin) == most)
        finally:
            self._shares.give(newcomer)

    def _held(self, origin: Origin) -> tuple[int, int]:
        return self._shares.of(origin.network), self._shares.of(origin.network, origin.address)
