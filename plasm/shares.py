"""Shares: who holds how much of something scarce, by where they come from.

Identities are free and addresses are not, so strangers share by network first, then by address, and only then by
identity: see ``specs/decisions/0012-strangers-share-by-network.md``.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_NETWORK_BITS: Final = {4: 24, 6: 48}
"""What one organisation usually has: the smallest block that is routed on its own (RFC 7454, section 6.1.3)."""
_ADDRESS_BITS: Final = {4: 32, 6: 64}
"""What one subscriber has: every host of an IPv6 link chooses among 2**64 addresses (RFC 4291, section 2.5.1)."""


@dataclass(frozen=True)
class Origin:
    """Where a stranger comes from, the broadest part first."""

    network: str
    """The IPv4 /24 or IPv6 /48 network, or a name for peers whose address is unknown."""
    address: str = ""
    """The IPv4 address or IPv6 /64 network; empty where it is unknown."""
    peer: str = ""
    """The identity that the transport proved; empty before it has."""

    @property
    def path(self) -> tuple[str, str, str]:
        """Network, address, identity."""
        return (self.network, self.address, self.peer)


def origin_of(ip: str | None, peer: str = "") -> Origin:
    """The origin of a peer at the textual address `ip`, whose zone is ignored.

    A peer without an address, or with one that cannot be parsed, is a network of its own.
    """
    try:
        address = ipaddress.ip_address((ip or "").partition("%")[0])
    except ValueError:
        return Origin(network=f"peer {peer}", peer=peer)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    network = ipaddress.ip_network((address, _NETWORK_BITS[address.version]), strict=False)
    block = ipaddress.ip_network((address, _ADDRESS_BITS[address.version]), strict=False)
    return Origin(network=str(network), address=str(block), peer=peer)


def _parts(origin: Origin) -> tuple[tuple[str, ...], ...]:
    """All, the network, the address in it, the identity there: as paths."""
    network, address, peer = origin.network, origin.address, origin.peer
    return ((), (network,), (network, address), (network, address, peer))


class Shares:
    """Amounts (places, bytes, …) that are held, summed for each network, address and identity."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, ...], int] = {}
        self._below: dict[tuple[str, ...], dict[str, None]] = {}

    @property
    def total(self) -> int:
        """What all hold together."""
        return self._held.get((), 0)

    def of(self, *path: str) -> int:
        """What the network, the address in it or the identity there holds: ``of(network)``, ``of(*origin.path)``."""
        return self._held.get(path, 0)

    def parts(self, *path: str) -> int:
        """How many networks, addresses of a network or identities of an address hold something: as :meth:`of`."""
        return len(self._below.get(path, ()))

    def take(self, origin: Origin, amount: int = 1) -> None:
        """`origin` holds `amount` more."""
        for part in _parts(origin):
            earlier = self._held.get(part)
            if earlier is not None:
                self._held[part] = earlier + amount
                continue
            self._held[part] = amount
            if part:
                self._below.setdefault(part[:-1], {})[part[-1]] = None

    def give(self, origin: Origin, amount: int = 1) -> None:
        """`origin` holds `amount` less; never less than nothing."""
        parts = _parts(origin)
        amount = min(amount, self._held.get(parts[-1], 0))
        for part in reversed(parts):
            left = self._held.get(part, 0) - amount
            if left > 0:
                self._held[part] = left
                continue
            self._held.pop(part, None)
            if part:
                below = self._below.get(part[:-1])
                if below is not None:
                    below.pop(part[-1], None)
                    if not below:
                        del self._below[part[:-1]]

    def greediest(self) -> Origin | None:
        """Who gives way first: the identity that holds most, at the address that holds most, in the network that does.

        ``None`` where nobody holds anything. Among equals whoever came first.
        """
        if not self._held:
            return None
        path: tuple[str, ...] = ()
        while below := self._below.get(path):
            path = (*path, max(below, key=lambda part: self._held[(*path, part)]))
        return Origin(*path)


def has_room(held: Shares, origin: Origin, amount: int, *, most: int, ceiling: int) -> bool:
    """Whether `origin` may hold `amount` more of what is promised, and so is never taken back.

    Up to `most` together anyone may. From there on a network may that holds nothing yet or stays within an even share
    of `most`; in one that does not, an address that stays within an even share of that, and at that address an identity
    that does. Those shares overlap, since what was taken before stays taken: `ceiling`, a few times `most`, bounds them
    all, and lower ones what addresses and identities get beyond `most`, as identities cost nothing. What is larger than
    all bounds is held alone.
    """
    total = held.total
    if not total or total + amount <= most:
        return True
    share = float(most)
    beyond = ceiling - most
    for level, room in ((1, beyond), (2, beyond // 4), (3, beyond // 8)):
        if total + amount > most + room:
            return False
        part = held.of(*origin.path[:level])
        share /= held.parts(*origin.path[: level - 1]) + (not part)
        if part + amount <= share or (level == 1 and not part):
            return True
    return False


class Places(Generic[T]):
    """At most `most` places: once they are taken, whoever holds most of them gives one up, chosen at random."""

    def __init__(self, most: int, chance: random.Random | None = None) -> None:
        self._most = most
        # The default is seeded by the system: a stranger cannot foresee who goes.
        self._chance = chance or random.SystemRandom()
        self._shares = Shares()
        self._holders: dict[Origin, dict[T, None]] = {}
        self._origins: dict[T, Origin] = {}

    def __len__(self) -> int:
        return len(self._origins)

    def __contains__(self, holder: T) -> bool:
        return holder in self._origins

    def __iter__(self) -> Iterator[T]:
        return iter(self._origins)

    def held_by(self, *path: str) -> int:
        """Places of a network, an address in it, or an identity there: as :meth:`Shares.of`."""
        return self._shares.of(*path)

    def enter(self, holder: T, origin: Origin, first: Callable[[T], bool] = lambda holder: False) -> T | None:
        """Give `holder` a place; who loses theirs for it, which may be the newcomer, or ``None`` where one was free.

        Of the greediest those go first of whom `first` is true, such as idle ones.
        """
        self._origins[holder] = origin
        self._holders.setdefault(origin, {})[holder] = None
        self._shares.take(origin)
        if len(self._origins) <= self._most:
            return None
        greediest = self._shares.greediest()
        assert greediest is not None
        candidates = list(self._holders[greediest])
        victim = self._chance.choice([one for one in candidates if first(one)] or candidates)
        self.leave(victim)
        return victim

    def leave(self, holder: T) -> None:
        """`holder` needs no place any longer; idempotent."""
        origin = self._origins.pop(holder, None)
        if origin is None:
            return
        holders = self._holders[origin]
        del holders[holder]
        if not holders:
            del self._holders[origin]
        self._shares.give(origin)
