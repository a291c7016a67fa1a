"""In which order found nodes are asked: the reliable and near first, and always a share for the unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from plasm.checking.standing import PeerRecord, Standing
from plasm.ports import PeerId

UNKNOWN_SHARE: Final = 1 / 8
"""Of the places in the order go to unknown nodes while there are any: without it nobody would ever become known."""
_UNMEASURED_SECONDS: Final = 1.0
"""A node whose distance nobody measured counts as one on the far side of a bad link."""

_LEAST_SECONDS: Final = 0.01
"""Nearer than this is no nearer: a job takes longer."""

K = TypeVar("K")


def in_order(
    records: Iterable[PeerRecord],
    *,
    random: Callable[[], float],
    latencies: Mapping[PeerId, float] | None = None,
    with_liars: bool = False,
) -> list[PeerId]:
    """The peers of `records`, best first. `latencies` are fresh measurements in seconds, and win over the records'.

    Trusted nodes come first, then the unknown, then those that a quorum contradicted; those that were proven to lie
    are left out, or come last where `with_liars`. Each place goes to an unknown node with probability 1/8, so that
    the trusted do not take all. The expected wait decides among the trusted: latency over reliability. Among the
    unknown the same wait draws lots: a node with half the wait comes first twice as often, and no more than that,
    because being near and many is easily arranged. `random` gives numbers from 0 up to 1.
    """
    waiting = {record: _wait(record, (latencies or {}).get(record.peer)) for record in records}

    def standing(wanted: Standing) -> list[PeerRecord]:
        return [record for record in waiting if record.standing is wanted]

    def by_wait(group: list[PeerRecord]) -> list[PeerRecord]:
        return sorted(group, key=lambda record: (waiting[record], record.peer))

    known = by_wait(standing(Standing.TRUSTED))
    # The first of exponential variables is each one with a probability that goes with its rate.
    lots = {record: -math.log(1 - random()) * waiting[record] for record in standing(Standing.UNKNOWN)}
    unknown = sorted(lots, key=lambda record: lots[record])
    order: list[PeerRecord] = []
    while known and unknown:
        order.append((unknown if random() < UNKNOWN_SHARE else known).pop(0))
    order += known or unknown
    order += by_wait(standing(Standing.CONTRADICTED))
    if with_liars:
        order += by_wait(standing(Standing.LIAR))
    return [record.peer for record in order]


def spread(peers: Sequence[PeerId], kind: Callable[[PeerId], K]) -> list[PeerId]:
    """The same peers, so that different kinds (engines, operators) stand beside each other; else in their order.

    The first of each kind comes first, then the second of each, and so on.
    """
    turns: dict[K, int] = {}
    placed = []
    for place, peer in enumerate(peers):
        turn = turns.get(kind(peer), 0)
        turns[kind(peer)] = turn + 1
        placed.append((turn, place, peer))
    return [peer for _, _, peer in sorted(placed)]


def _wait(record: PeerRecord, measured: float | None) -> float:
    latency = record.latency_seconds if measured is None else measured
    return max(_UNMEASURED_SECONDS if latency is None else latency, _LEAST_SECONDS) / record.reliability
