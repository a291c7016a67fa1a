"""What the sources have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from plasm_provider.catalog import Catalog

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

POLL_SECONDS: Final = 1.0
"""Between two looks at a folder."""
RENEWAL_TIME: Final = timedelta(minutes=15)
"""Between two looks at what expires when."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Source(Protocol):
    """Brings what is signed into a catalog, and keeps it there up to date."""

    @property
    def refused(self) -> Mapping[str, str]:
        """What is there and is not offered → why."""

    @property
    def notes(self) -> list[str]:
        """What people should know about it, in sentences, once :meth:`open` was entered."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open keys and see whether it can work at all. Raises :exc:`plasm.errors.PlasmError`."""

    async def follow(self, catalog: Catalog, *, task_status: TaskStatus[None]) -> None:
        """Keep `catalog` up to date until cancelled; ``started()`` once all that is there for now is in it.

        What goes wrong meanwhile is told in the log, and tried again.
        """


class Complaints:
    """Says what goes wrong once, and not each second for as long as it does."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last = ""

    def say(self, text: str) -> None:
        if text != self._last:
            self._log.warning("%s", text)
            self._last = text

    def clear(self) -> None:
        """All is well again."""
        self._last = ""


class Renewals:
    """When to look at what expires; a clock that is set back is one reason more."""

    def __init__(self) -> None:
        self._looked: datetime | None = None

    def due(self, now: datetime) -> bool:
        """Whether it is time to look."""
        return self._looked is None or not timedelta(0) <= now - self._looked < RENEWAL_TIME

    def done(self, now: datetime) -> None:
        """It was looked."""
        self._looked = now
