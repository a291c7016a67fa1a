"""What is known of a peer, what each of its deeds does to that, and when its results are checked.

Adaptive replication as BOINC does it (D. Anderson, "Adaptive replication", in BOINC's documentation): a peer's results
are checked until enough of them agreed in a row, then at random, the more seldom the longer the row is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from plasm.ports import PeerId

TRUSTED_AFTER: Final = 10
"""Agreements in a row, as BOINC's default."""
LEAST_CHECKED: Final = 1 / 100
"""However long the row is, one result in a hundred is checked: a peer that waits to be trusted is still found out."""
_LATENCY_WEIGHT: Final = 1 / 8
"""Of a new measurement in the smoothed one, as RFC 6298 smooths round trips."""


class Deed(enum.StrEnum):
    """Something that a peer did, as far as this client can tell."""

    ANSWERED = "answered"
    """It answered: a description, or a verified receipt."""
    AGREED = "agreed"
    """Its result was held against another one and was the same."""
    UNDECIDED = "undecided"
    """Its result was to be checked and could not be compared, or there was nobody to decide between two."""
    DIFFERED = "differed"
    """Others, or this machine, got another result on other engines: the engines differ, and trust is earned anew."""
    CONTRADICTED = "contradicted"
    """A quorum gave another result, and one of it on the same engine."""
    LIED = "lied"
    """Proven here: this machine got another result on the same engine, or the peer contradicted itself."""
    TIMED_OUT = "timed_out"
    """It fell silent, or had no result in time."""
    REFUSED = "refused"
    """It rejected the job, failed it, or sent what was not taken."""

    @property
    def counter(self) -> str:
        """The field of a :class:`PeerRecord` that counts it."""
        return (Deed.UNDECIDED if self is Deed.DIFFERED else self).value


class Standing(enum.StrEnum):
    """Where a peer stands."""

    UNKNOWN = "unknown"
    TRUSTED = "trusted"
    CONTRADICTED = "contradicted"
    LIAR = "liar"


@dataclass(frozen=True, kw_only=True)
class PeerRecord:
    """Counters over all time; times are seconds since the epoch. A fresh one is that of a peer nobody has seen."""

    peer: PeerId
    answered: int = 0
    agreed: int = 0
    undecided: int = 0
    contradicted: int = 0
    lied: int = 0
    timed_out: int = 0
    refused: int = 0
    streak: int = 0
    """Agreements since the last contradiction, difference or lie."""
    latency_seconds: float | None = None
    """Of a round trip, smoothed."""
    first_seen: float = 0.0
    last_seen: float = 0.0

    @property
    def standing(self) -> Standing:
        """A lie stays; a contradiction is made good by as many agreements as trust takes."""
        if self.lied:
            return Standing.LIAR
        if self.streak >= TRUSTED_AFTER:
            return Standing.TRUSTED
        return Standing.CONTRADICTED if self.contradicted else Standing.UNKNOWN

    @property
    def reliability(self) -> float:
        """The share of requests that it answered, by Laplace's rule: a half for a peer nobody has asked."""
        return (self.answered + 1) / (self.answered + self.timed_out + self.refused + 2)

    def after(self, deed: Deed, *, now: float, latency_seconds: float | None = None) -> PeerRecord:
        """The record with one deed more. One contradiction, difference or lie resets the streak to zero."""
        streak = self.streak
        if deed is Deed.AGREED:
            streak += 1
        elif deed in (Deed.DIFFERED, Deed.CONTRADICTED, Deed.LIED):
            streak = 0
        latency = self.latency_seconds
        if latency_seconds is not None:
            latency = latency_seconds if latency is None else latency + _LATENCY_WEIGHT * (latency_seconds - latency)
        return replace(
            self,
            **{deed.counter: getattr(self, deed.counter) + 1},
            streak=streak,
            latency_seconds=latency,
            first_seen=self.first_seen or now,
            last_seen=max(self.last_seen, now),
        )


def needs_check(record: PeerRecord, random: Callable[[], float]) -> bool:
    """Whether the next result of that peer is to be checked. `random` gives numbers from 0 up to 1.

    Always until it has agreed ten times in a row; then with probability 1/n after n agreements in a row, and never less
    often than one in a hundred.
    """
    if record.streak < TRUSTED_AFTER:
        return True
    return random() < max(1 / record.streak, LEAST_CHECKED)
