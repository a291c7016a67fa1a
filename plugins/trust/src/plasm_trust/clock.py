"""What time it is at least: the machine's clock, or the newest time that somebody who may say so has signed.

TUF signs when metadata expires and not when it was made. Our metadata has the signed member ``x-phase-signed``
(``specs/boot-repository.md``, section 2), so a clock that was reset is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from plasm_trust.tufapi import Signed

SIGNED_AT: Final = "x-phase-signed"
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def to_text(time: datetime) -> str:
    """``2026-01-31T23:59:59Z``, in UTC."""
    return time.astimezone(UTC).strftime(_FORMAT)


def from_text(text: object) -> datetime | None:
    """The reverse of :func:`to_text`; ``None`` where `text` is nothing of that form."""
    if not isinstance(text, str) or len(text) != 20:
        return None
    try:
        return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def in_words(time: datetime) -> str:
    """``2026-01-31 23:59 UTC``, for people."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def stamp(signed: Signed, now: datetime) -> None:
    """Note in metadata that is being made when that is."""
    signed.unrecognized_fields[SIGNED_AT] = to_text(now)


def signed_at(signed: Signed) -> datetime | None:
    """When verified metadata was made; ``None`` where it does not say so, or says what cannot be."""
    time = from_text(signed.unrecognized_fields.get(SIGNED_AT))
    return time if time is not None and time < signed.expires else None


@dataclass
class Clock:
    """The machine's clock, held against times that have passed for certain."""

    now: Callable[[], datetime]
    proofs: dict[datetime, str] = field(default_factory=dict)
    """Time → what proves that it has passed, for people."""

    def saw(self, time: datetime | None, what: str) -> None:
        """`what` proves that `time` has passed."""
        if time is not None:
            self.proofs.setdefault(time.astimezone(UTC), what)

    def time(self) -> datetime:
        """What counts as now, in UTC."""
        return max([self.now().astimezone(UTC), *self.proofs])

    def note(self) -> str | None:
        """What to tell people where the machine's clock is not what counts."""
        says, counts = self.now().astimezone(UTC), max(self.proofs, default=None)
        if counts is None or counts <= says:
            return None
        return (
            f"this machine's clock says {in_words(says)}, which is before {in_words(counts)}, {self.proofs[counts]};"
            " the later time is used"
        )
