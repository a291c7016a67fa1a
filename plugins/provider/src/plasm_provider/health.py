"""Whether a provider can do what it is there for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from plasm_provider.documents import ChecksDocument, HealthDocument
from plasm_provider.offer import Offer, State

_STALE_SECONDS: Final = 60.0
"""A look at the disk that takes longer than this hangs, and so does whoever reads from there."""


@dataclass(frozen=True)
class Checks:
    """Each is true where all is well."""

    artifacts_readable: bool
    disk_space_ok: bool
    metadata_current: bool

    @property
    def healthy(self) -> bool:
        return self.artifacts_readable and self.disk_space_ok and self.metadata_current


def health_document(checks: Checks) -> HealthDocument:
    """`checks` as ``/health`` tells them."""
    return HealthDocument(
        status="healthy" if checks.healthy else "unhealthy",
        checks=ChecksDocument(
            artifacts_readable=checks.artifacts_readable,
            disk_space_ok=checks.disk_space_ok,
            metadata_current=checks.metadata_current,
        ),
    )


class Health:
    """Looks at folders from a worker thread; answers from any."""

    def __init__(self, folders: Sequence[Path], least_free_bytes: int, offer: Callable[[], Offer]) -> None:
        self._folders = folders
        self._least = least_free_bytes
        self._offer = offer
        self._readable = True
        self._space = True
        self._looked = time.monotonic()

    def look(self) -> None:
        """Look at the folders; may take as long as the disk does."""
        offer = self._offer()
        watched = {*self._folders, *([offer.targets] if offer.targets is not None else [])}
        self._readable = all(map(_readable, watched))
        self._space = all(self._has_space(folder) for folder in watched)
        self._looked = time.monotonic()

    def checks(self) -> Checks:
        """What was seen last, and whether the metadata holds at this moment."""
        offer = self._offer()
        fresh = time.monotonic() - self._looked < _STALE_SECONDS
        published = offer.published
        return Checks(
            artifacts_readable=fresh and self._readable and not offer.counts[State.MISSING],
            disk_space_ok=fresh and self._space,
            metadata_current=published is not None and datetime.now(UTC) < published.expires,
        )

    def _has_space(self, folder: Path) -> bool:
        try:
            facts = os.statvfs(folder)
        except OSError:
            return True  # that it cannot be read is another check's to say
        # An image that is mounted read-only is full by nature.
        return bool(facts.f_flag & os.ST_RDONLY) or facts.f_bavail * facts.f_frsize >= self._least


def _readable(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError:
        return False
    return True
