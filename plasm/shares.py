"""Shares: who holds how much of something scarce, by where they come from.

Identities are free and addresses are not, so strangers share by network first, then by address, and only then by
identity: see ``specs/decisions/0012-strangers-share-by-network.md``.
"""

from __future__ import annotations

import ipaddress
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

_NETWORK_BITS: Final = {4: 24, 6: 48}
"""What one organisation usually has: the smallest block that is routed on its own (RFC 7454, section 6.1.3)."""
_ADDRESS_BITS: Final = {4: 32, 6: 64}
"""What one subscriber has: every host of an IPv6 link chooses among 2**64 addresses (RFC 4291, section 2.5.1)."""

_GUESSES: Final = 8
_MOST_NAMED: Final = 16
"""Addresses of a peer whose networks count; an honest one has a handful."""
_BY_NAME: Final = "by name"
"""The network of all that are named by host names and not by addresses: names cost strangers nothing."""


class Origin(NamedTuple):
    """Where a stranger comes from, the broadest part first."""

    network: str
    """The IPv4 /24 or IPv6 /48 network, or a name for peers whose address is unknown."""
    address: str = ""
    """The IPv4 address or IPv6 /64 network; empty where it is unknown."""
    peer: str = ""
    """The identity that the transport proved; empty before it has."""


def origin_of(ip: str | None, peer: str = "") -> Origin:
    """The origin of a peer at the textual address `ip`, whose zone is ignored.

    A peer without an address, or with one that cannot be parsed, is a network of its own.
    """
    blocks = _blocks_of(ip or "")
    return Origin(*blocks, peer=peer) if blocks is not None else Origin(network=f"peer {peer}", peer=peer)


@lru_cache(maxsize=4096)
def _blocks_of(ip: str) -> tuple[str, str] | None:
    """The network and the address in it; ``None`` where `ip` cannot be parsed."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    network = ipaddress.ip_network((address, _NETWORK_BITS[address.version]), strict=False)
    block = ipaddress.ip_network((address, _ADDRESS_BITS[address.version]), strict=False)
    return str(network), str(block)


def networks_named(addresses: Sequence[str]) -> frozenset[str]:
    """The networks that multiaddrs name, as :func:`origin_of` has them; one for all host names. Never empty.

    They are a stranger's word until they are dialed, so a bound goes by the one of them that has used most.
    """
    return frozenset(map(_network_named, addresses[:_MOST_NAMED])) or frozenset((_BY_NAME,))


# The same addresses are compared for every peer that waits.
@lru_cache(maxsize=4096)
def _network_named(address: str) -> str:
    parts = address.split("/", 3)
    if len(parts) < 3 or parts[1] not in ("ip4", "ip6"):
        return _BY_NAME
    return origin_of(parts[2]).network


class _Ranking:
    """Parts by what each holds, so that those that hold most are found without looking at all of them."""

    def __init__(self) -> None:
        self.amounts: dict[str, int] = {}
        """Whoever came to hold what it does first at the front."""
        self._parts: dict[int, dict[str, None]] | None = None
        """By what they hold, once that was asked for: where nothing is scarce nobody asks."""
        self._most = 0

    def change(self, part: str, by: int) -> None:
        """`part` holds so much more, or less; with nothing left it is gone."""
        before = self.amounts.pop(part, 0)
        amount = before + by
        if amount:
            self.amounts[part] = amount
        if self._parts is not None:
            self._move(self._parts, part, before, amount)

    def _move(self, parts: dict[int, dict[str, None]], part: str, before: int, amount: int) -> None:
        if before:
            equals = parts[before]
            del equals[part]
            if not equals:
                del parts[before]
        if amount:
            parts.setdefault(amount, {})[part] = None
        if amount >= self._most:
            self._most = amount
        elif before == self._most and before not in parts:
            self._most = max(parts, default=0)

    def most(self) -> dict[str, None]:
        """Those that hold most, whoever came to hold it first at the front; never empty in a ranking of somebody."""
        if self._parts is None:
            self._parts = {}
            for part, amount in self.amounts.items():
                self._parts.setdefault(amount, {})[part] = None
            self._most = max(self._parts, default=0)
        return self._parts[self._most]


class Shares:
    """Amounts (places, bytes, …) that are held, summed for each network, address and identity."""

    def __init__(self) -> None:
        self._total = 0
        self._rankings: dict[tuple[str, ...], _Ranking] = {}
        """Of the networks, of the addresses in each, and of the identities at each."""

    @property
    def total(self) -> int:
        """What all hold together."""
        return self._total

    def of(self, *path: str) -> int:
        """What the network, the address in it or the identity there holds: ``of(network)``, ``of(*origin)``."""
        if not path:
            return self._total
        ranking = self._rankings.get(path[:-1])
        return ranking.amounts.get(path[-1], 0) if ranking is not None else 0

    def parts(self, *path: str) -> int:
        """How many networks, addresses of a network or identities of an address hold something: as :meth:`of`."""
        ranking = self._rankings.get(path)
        return len(ranking.amounts) if ranking is not None else 0

    def take(self, origin: Origin, amount: int = 1) -> None:
        """`origin` holds `amount` more."""
        self._change(origin, amount)

    def give(self, origin: Origin, amount: int = 1) -> None:
        """`origin` holds `amount` less; never less than nothing."""
        self._change(origin, -min(amount, self.of(*origin)))

    def _change(self, origin: Origin, amount: int) -> None:
        if not amount:
            return
        self._total += amount
        rankings, (network, address, peer) = self._rankings, origin
        for parent, part in (((), network), ((network,), address), ((network, address), peer)):
            ranking = rankings.get(parent)
            if ranking is None:
                ranking = rankings[parent] = _Ranking()
            ranking.change(part, amount)
            if not ranking.amounts:
                del rankings[parent]

    def greediest(self, chance: random.Random | None = None) -> Origin | None:
        """Who gives way first: the identity that holds most, at the address that holds most, in the network that does.

        ``None`` where nobody holds anything. Among equals whoever came first or, with `chance`, one at random.
        """
        if not self._total:
            return None
        path: tuple[str, ...] = ()
        while ranking := self._rankings.get(path):
            most = ranking.most()
            path = (*path, next(iter(most)) if chance is None or len(most) == 1 else chance.choice(list(most)))
        return Origin(*path)

    def greediest_identities(self, chance: random.Random) -> list[Origin]:
        """All that hold most at the address that :meth:`greediest` finds; empty where nobody holds anything."""
        one = self.greediest(chance)
        if one is None:
            return []
        return [Origin(one.network, one.address, peer) for peer in self._rankings[one[:-1]].most()]


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
        part = held.of(*origin[:level])
        share /= held.parts(*origin[: level - 1]) + (not part)
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

    def enter(self, holder: T, origin: Origin, first: Callable[[T], bool] | None = None) -> T | None:
        """Give `holder` a place; who loses theirs for it, which may be the newcomer, or ``None`` where one was free.

        Of the greediest those go first of whom `first` is true, such as idle ones. Identities are free, so those that
        hold as much at the same address count as one for that.
        """
        self._origins[holder] = origin
        self._holders.setdefault(origin, {})[holder] = None
        self._shares.take(origin)
        if len(self._origins) <= self._most:
            return None
        if first is None:
            greediest = self._shares.greediest(self._chance)
            assert greediest is not None
            victim = self._chance.choice(list(self._holders[greediest]))
        else:
            equals = self._shares.greediest_identities(self._chance)
            victim = self._choose([one for identity in equals for one in self._holders[identity]], first)
        self.leave(victim)
        return victim

    def _choose(self, candidates: list[T], first: Callable[[T], bool]) -> T:
        # Under a flood nearly all are of those that go first, and need not all be looked at.
        for _ in range(_GUESSES):
            guess = self._chance.choice(candidates)
            if first(guess):
                return guess
        return self._chance.choice([one for one in candidates if first(one)] or candidates)

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


class Allowances:
    """What each key may spend: `rate` units a second, and as much as `burst` at once.

    Of more than `most` keys those that spent longest ago are forgotten, and have all of their burst again.
    """

    def __init__(self, rate: float, burst: float, most: int, now: Callable[[], float]) -> None:
        self.rate = rate
        self._burst = burst
        self._most = most
        self._now = now
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def spend(self, key: Hashable, amount: float = 1.0) -> bool:
        """Whether `key` has `amount` left at this moment, which is then spent."""
        left, now = self._balance(key)
        self._keep(key, left - amount if left >= amount else left, now)
        return left >= amount

    def owe(self, key: Hashable, amount: float) -> float:
        """Spend `amount`, be it there or not; the seconds until the debt is paid, 0 where there is none."""
        left, now = self._balance(key)
        self._keep(key, left - amount, now)
        return max(amount - left, 0.0) / self.rate

    def _balance(self, key: Hashable) -> tuple[float, float]:
        now = self._now()
        left, since = self._left.pop(key, (self._burst, now))
        return min(left + (now - since) * self.rate, self._burst), now

    def _keep(self, key: Hashable, left: float, now: float) -> None:
        self._left[key] = (left, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
