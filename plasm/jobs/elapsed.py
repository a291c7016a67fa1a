"""Time that has passed: it goes on while the machine sleeps and over restarts, and no change of the clock moves it.

What is kept for a promised time is kept by this. A machine without a clock battery starts in 1970 and is set to today
minutes later; by the wall clock all its results would be decades old then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Mark(NamedTuple):
    """A moment, for a later life to go on from: `elapsed` seconds, when boot `boot` was `uptime` seconds old."""

    elapsed: float
    boot: str
    uptime: float


class ElapsedTime:
    """Seconds that have certainly passed since it was first used.

    While the machine was off nothing can be told from nothing but the wall clock, so that time does not count. Within
    one boot all of it does, and from another boot as much as that one is old.
    """

    def __init__(
        self,
        earlier: Mark | None = None,
        *,
        uptime: Callable[[], float] | None = None,
        boot: str | None = None,
    ) -> None:
        self._uptime = uptime or _uptime
        self._boot = _boot() if boot is None else boot
        self._began = self._uptime()
        self._before = 0.0
        if earlier is not None:
            same = bool(self._boot) and earlier.boot == self._boot
            passed = self._began - (earlier.uptime if same else 0.0)
            self._before = max(0.0, earlier.elapsed) + max(0.0, passed)

    def now(self) -> float:
        """Seconds; never less than it said before."""
        return self._before + max(0.0, self._uptime() - self._began)

    def mark(self) -> Mark:
        """For a later life."""
        uptime = self._uptime()
        return Mark(self._before + max(0.0, uptime - self._began), self._boot, uptime)


def _uptime() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    # Elsewhere the monotonic clock, which counts from the last boot too.
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _boot() -> str:
    """What names this boot of the machine; empty where nothing does."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:64]
    return ""
