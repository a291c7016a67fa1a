"""Who is connected, who makes room for whom, and how often each may ask."""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from plasm_provider.httpd.limits import Limits

_NETWORK_BITS: Final = 64
"""What one subscriber has of IPv6."""


def client_of(host: str) -> str:
    """The client behind the textual IP address `host`: an IPv4 address, or the first 64 bits of an IPv6 one."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((ip, _NETWORK_BITS), strict=False))


@dataclass(eq=False)
class Guest:
    """One connection."""

    client: str
    dismiss: Callable[[], None]
    """Ends the connection; may be called more than once."""
    number: int = field(default_factory=itertools.count().__next__)


class Crowd:
    """The connections of a server, within its limits.

    A newcomer for whom there is no room takes the place of the connection that has been idle for longest, of the same
    client where that has reached its own limit. Where nobody is idle, the client with most connections gives up its
    oldest, if the newcomer has clearly fewer. So neither idle connections nor one client's slow downloads keep others
    out.
    """

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._guests: dict[Guest, None] = {}
        self._idle: OrderedDict[Guest, None] = OrderedDict()
        self._per_client: Counter[str] = Counter()
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._guests)

    def admit(self, client: str, dismiss: Callable[[], None]) -> Guest | None:
        """A place for a new connection, idle at first; ``None`` where there is none."""
        if self._per_client[client] >= self._limits.connections_per_client:
            victim = next((guest for guest in self._idle if guest.client == client), None)
        elif len(self._guests) >= self._limits.connections:
            victim = next(iter(self._idle), None) or self._crowding(client)
        else:
            return self._enter(Guest(client, dismiss))
        if victim is None:
            return None
        self.leave(victim)
        victim.dismiss()
        return self._enter(Guest(client, dismiss))

    def leave(self, guest: Guest) -> None:
        """The connection has ended, or is about to; idempotent."""
        if guest not in self._guests:
            return
        del self._guests[guest]
        self._idle.pop(guest, None)
        self._per_client[guest.client] -= 1
        if not self._per_client[guest.client]:
            del self._per_client[guest.client]

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

    def may_ask(self, client: str) -> bool:
        """Whether `client` may ask once more at this moment, which counts as having asked."""
        rate, now = self._limits.requests_per_second, self._now()
        left, since = self._allowances.pop(client, (rate, now))
        left = min(left + (now - since) * rate, rate)
        allowed = left >= 1
        self._allowances[client] = (left - 1 if allowed else left, now)
        if len(self._allowances) > self._limits.clients_remembered:
            self._allowances.popitem(last=False)
        return allowed

    def _enter(self, guest: Guest) -> Guest:
        self._guests[guest] = None
        self._idle[guest] = None
        self._per_client[guest.client] += 1
        return guest

    def _crowding(self, client: str) -> Guest | None:
        greediest, most = max(self._per_client.items(), key=lambda item: item[1])
        if most <= self._per_client[client] + 1:
            return None
        return next(guest for guest in self._guests if guest.client == greediest)
