"""What the connections of a node take of it together, so that no stranger takes it all.

A frame without data costs its sender next to nothing and the event loop some microseconds, a stream or a question to
the DHT hundreds. They are charged in units of five microseconds, as measured: first to the connection, which has a
few for nothing, then to the network that it comes from. Once all networks together spend more than there is, each has
an even share of it; there is less where the event loop is late all the same. Whoever spent more waits, which TCP hands
on to the sender; others run meanwhile. See
``specs/decisions/0012-strangers-share-by-network.md``.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from plasm.shares import Allowances, Origin, Shares

PING_UNITS: Final = 20
"""An answer that is encrypted and sent on its own."""
STREAM_UNITS: Final = 50
"""A stream that is opened, negotiated and closed again."""
RESET_UNITS: Final = 50
"""A stream that a peer opened and that ended by a reset: what it said was read, refused and told."""
HANDSHAKE_UNITS: Final = 450
"""Keys that are agreed on and signatures that are checked, until an inbound connection is up."""
SEARCH_UNITS: Final = 300
"""Finding out who holds most."""
LONGEST_WAIT_SECONDS: Final = 5.0
"""For one charge, so that the reader of a connection still notices its end."""
_MOST_KEYS: Final = 4096
_SPENDING_SECONDS: Final = 1.0 + LONGEST_WAIT_SECONDS
"""Who waits for as long as anybody may still shares the rate."""
_LOOK_SECONDS: Final = 0.05
_LESS, _MORE = 0.85, 1.05
"""What the rate is multiplied with at each look, where others run too late and where they do not."""
_NEWEST_PART: Final = 0.3
"""Of a look in the mean lateness: one alone may be the system's doing."""


@dataclass(frozen=True, kw_only=True)
class LoopBounds:
    """What a :class:`LoopBudget` gives out."""

    connection_units_per_second: float = 100.0
    """For nothing, to each connection: frames of ten jobs a second on streams that are kept."""
    connection_burst: float = 1000.0
    units_per_second: float = 100_000.0
    """That all networks have together beyond that: half of a processor, or two thousand streams a second, each good for
    any number of jobs."""
    least_units_per_second: float = 10_000.0
    """That is left of it however busy the machine is."""
    late_seconds: float = 0.004
    """How much later than due others may run: beyond it networks that compete have less and less."""
    network_burst: float = 10_000.0
    inbound_streams: int = 8192
    """That peers have opened, on all connections."""
    unread_bytes: int = 256 * 2**20
    """That arrived on all streams and were not read yet."""


class Held(Protocol):
    """A connection, as far as it is counted here."""

    origin: Origin
    inbound: int
    """Streams that the peer has opened."""
    unread: int
    """Bytes that arrived and were not read yet."""

    def give_up_a_stream(self) -> None:
        """Reset one stream that the peer opened."""

    def shut(self) -> None:
        """Close at once."""


class LoopBudget:
    """Of one node."""

    def __init__(self, bounds: LoopBounds | None = None) -> None:
        self._bounds = bounds = bounds or LoopBounds()
        self._own = Allowances(
            bounds.connection_units_per_second, bounds.connection_burst, _MOST_KEYS, trio.current_time
        )
        self._all = Allowances(bounds.units_per_second, bounds.network_burst, 1, trio.current_time)
        self._late = 0.0
        self._networks: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What each network has left of its share, and when it last spent; who spent last at the end."""
        self._spending: OrderedDict[str, float] = OrderedDict()
        """Networks that spent something lately, among whom the rate is shared."""
        self._held: set[Held] = set()
        self.inbound = 0
        self.unread = 0

    def enter(self, connection: Held) -> None:
        """`connection` is up."""
        self._held.add(connection)

    def leave(self, connection: Held) -> None:
        """`connection` is gone; idempotent."""
        self._held.discard(connection)

    def charge(self, origin: Origin, units: float) -> float:
        """`units` were spent; the seconds that whoever spent them has to wait."""
        if self._own.spend(origin, units):
            return 0.0
        now = trio.current_time()
        crowded = self._all.owe("", units) > 0
        self._spending[origin.network] = now
        self._spending.move_to_end(origin.network)
        self._forget_who_stopped(now)
        share = self._all.rate / len(self._spending)
        left, since = self._networks.pop(origin.network, (self._bounds.network_burst, now))
        left = min(left + (now - since) * share, self._bounds.network_burst) - units
        if not crowded:
            # There is room, so whoever asks for it takes it, and owes nothing.
            left = max(left, 0.0)
        self._networks[origin.network] = (left, now)
        if len(self._networks) > _MOST_KEYS:
            self._networks.popitem(last=False)
        return min(max(-left, 0.0) / share, LONGEST_WAIT_SECONDS)

    def _forget_who_stopped(self, now: float) -> None:
        while self._spending and next(iter(self._spending.values())) < now - _SPENDING_SECONDS:
            self._spending.popitem(last=False)

    async def pace(self) -> None:
        """Go by how late the event loop is, until cancelled.

        A unit is five microseconds of a machine that does nothing else, and what is charged is an estimate: where
        others run late all the same there is less to give out. A network that spends alone keeps nobody from anything.
        """
        while True:
            due = trio.current_time() + _LOOK_SECONDS
            await trio.sleep_until(due)
            self.look(trio.current_time() - due)

    def look(self, late: float) -> None:
        """The event loop ran something `late` seconds after it was due."""
        bounds = self._bounds
        self._late += _NEWEST_PART * (late - self._late)
        self._forget_who_stopped(trio.current_time())
        if self._late > bounds.late_seconds and len(self._spending) > 1:
            self._all.rate = max(self._all.rate * _LESS, bounds.least_units_per_second)
        else:
            self._all.rate = min(self._all.rate * _MORE, bounds.units_per_second)

    def room_for_a_stream(self) -> bool:
        """Make room for one more inbound stream; whether that had to be looked for."""
        if self.inbound < self._bounds.inbound_streams:
            return False
        greediest = self._greediest({connection: connection.inbound for connection in self._held})
        if greediest is not None:
            greediest.give_up_a_stream()
        return True

    def bound_unread(self) -> None:
        """Close whoever holds most unread, while that is too much in all."""
        while self.unread > self._bounds.unread_bytes:
            greediest = self._greediest({connection: connection.unread for connection in self._held})
            if greediest is None:
                return
            greediest.shut()

    def _greediest(self, amounts: dict[Held, int]) -> Held | None:
        shares = Shares()
        for connection, amount in amounts.items():
            if amount:
                shares.take(connection.origin, amount)
        origin = shares.greediest()
        of_origin = [connection for connection in amounts if connection.origin == origin]
        return max(of_origin, key=lambda connection: amounts[connection], default=None)
