"""When what is signed expires, and what it is time to sign anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from plasm_trust import layout
from plasm_trust.clock import in_words

if TYPE_CHECKING:
    from plasm_trust.settings import Settings
    from plasm_trust.verifying import VerifiedMetadata

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """When what one role has signed expires."""

    role: str
    version: int
    expires: datetime
    left: timedelta
    """Until then; negative where it has expired."""
    due: bool
    """Whether it has expired, or will within its warning time."""

    @property
    def words(self) -> str:
        """``expires in 12 days (2026-01-31 23:59 UTC)``, for people."""
        when = in_words(self.expires)
        if self.left <= timedelta(0):
            return f"expired {_duration(-self.left)} ago ({when})"
        return f"expires in {_duration(self.left)} ({when})"


def expiries(settings: Settings, published: VerifiedMetadata, now: datetime) -> tuple[Expiry, ...]:
    """Of each role, top-level ones first."""
    top = (published.root, published.targets, published.snapshot, published.timestamp)
    signed = {each.type: each for each in top} | dict(sorted(published.channels.items()))
    found = []
    for role, each in signed.items():
        left = each.expires - now
        wanted = settings.roles.get(role) or settings.channels.get(role)
        warning = timedelta(days=wanted.warning_days if wanted is not None else 0)
        found.append(Expiry(role=role, version=each.version, expires=each.expires, left=left, due=left <= warning))
    return tuple(found)


def offline(role: str) -> bool:
    """Whether `role` signs what people decide, and not only that it is fresh."""
    return role in ("root", "targets") or role not in layout.ROLES


def _duration(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    for unit, size in _UNITS:
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"
