"""What happens while an artifact is fetched, for progress bars and for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Resumed:
    """So many bytes are there from an earlier attempt."""

    size: int


@dataclass(frozen=True)
class Progressed:
    """Told a few times a second, and once more at the end."""

    done: int
    """Bytes that are there and verified, those of an earlier attempt included."""
    size: int
    rate: float
    """Bytes that arrived per second, of late."""
    by_source: Mapping[str, int]
    """Verified bytes that each source brought, by its origin."""


@dataclass(frozen=True)
class Dropped:
    """A source is asked no more, or not for a while; `reason` is one line for people."""

    source: str
    reason: str
    again_in: float | None = None
    """Seconds until it is tried again; ``None`` for never, or, where it is only slow, when nobody else is left."""


Event = Resumed | Progressed | Dropped
Report = Callable[[Event], None]
