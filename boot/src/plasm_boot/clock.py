"""What time it is at least."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from plasm_trust.clock import Clock

WRITTEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""A time before this software was written: no clock that is right says less."""


def now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


def machine_clock() -> Clock:
    """This machine's clock, held against what is known."""
    clock = Clock(now)
    clock.saw(WRITTEN, "when this software was written")
    return clock
