"""Faults of strangers in the log: one line for each of them and kind of fault, so that none of them can fill it."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

import anyio

EVERY_SECONDS: Final = 600
"""How long a line stands for all further faults of its kind by the same stranger."""
MOST_LINES: Final = 256
"""In that time, whoever writes them: identities cost nothing."""


class FaultLog:
    """Writes the first fault of each kind of each stranger to `log`, and counts the others.

    How many those were is said once in `every_seconds`, when the next fault comes or :meth:`tell` is called.
    """

    def __init__(
        self, log: logging.Logger, *, every_seconds: float = EVERY_SECONDS, most_lines: int = MOST_LINES
    ) -> None:
        self._log = log
        self._every_seconds = every_seconds
        self._most_lines = most_lines
        self._told: set[tuple[str, str]] = set()
        self._untold: Counter[str] = Counter()
        self._until = 0.0

    def add(self, who: str, kind: str, detail: object, *, level: int = logging.WARNING) -> None:
        """`who` did something of the kind `kind`, a fixed text; `detail` is written with the first of them."""
        self.tell()
        if (who, kind) in self._told or len(self._told) >= self._most_lines:
            self._untold[kind] += 1
            return
        if not self._told:
            self._until = anyio.current_time() + self._every_seconds
        self._told.add((who, kind))
        self._log.log(level, "%s: %s: %s", who, kind, detail)

    def tell(self) -> None:
        """Say how many faults were not written, if it is time for that."""
        if not self._told or anyio.current_time() < self._until:
            return
        self._told.clear()
        if self._untold:
            counted = ", ".join(f"{count} x {kind}" for kind, count in self._untold.most_common())
            self._log.warning("in the last %.0f minutes as well: %s", self._every_seconds / 60, counted)
            self._untold.clear()
