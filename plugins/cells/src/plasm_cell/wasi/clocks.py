"""Time and chance for a guest: virtual ones that follow from the job's seed, and the real ones for who asks for them.

The virtual rules are those of :data:`.VERSION`:

- Random bytes are the blocks ``SHAKE-256("plasm random" || seed || i)`` of 4096 bytes, ``i`` = 0, 1, … as 8 bytes
  little-endian, one after another.
- Virtual time is nanoseconds since the start of the run, 0 at first. Each reading of a clock takes 1 µs; a sleep takes
  its length and returns at once; nothing else takes time, the timestamps of files included. The monotonic and CPU
  clocks show virtual time; the realtime clock adds an offset of 946684800 s (2000-01-01) plus the first four bytes
  (little-endian) of ``SHAKE-256("plasm clock" || seed)`` as seconds, modulo 20 years of 365.25 days. No clock goes
  beyond 2^64 - 1.
"""

from __future__ import annotations

import os
import time
from typing import Final, Protocol

try:
    # Not by hashlib, which loads all of OpenSSL: what a warm parent has loaded, each of its cells pays for.
    from _sha3 import shake_256  # type: ignore[import-not-found]
except ImportError:
    from hashlib import shake_256

REALTIME: Final = 0
CLOCKS: Final = range(4)
"""realtime, monotonic, process CPU time, thread CPU time (preview 1, ``clockid``)."""

LARGEST: Final = (1 << 64) - 1
"""No clock and no timestamp goes beyond it."""

_BLOCK: Final = 4096
_READING_NS: Final = 1_000
_YEAR_2000: Final = 946_684_800
_TWENTY_YEARS: Final = 631_152_000
_LONGEST_NAP: Final = 3600.0


class Clock(Protocol):
    """What the WASI layer asks of a clock; all values are nanoseconds."""

    def resolution(self, clock: int) -> int: ...

    def time(self, clock: int) -> int: ...

    def now(self) -> int:
        """The realtime clock for a file's timestamps: looking at it so takes no time."""

    def sleep(self, duration: int) -> None: ...


class Random(Protocol):
    def take(self, count: int) -> bytes:
        """The next `count` random bytes; callers ask for some tens of kilobytes at once and not for more."""


class VirtualClock:
    def __init__(self, seed: bytes) -> None:
        digest = shake_256(b"plasm clock" + seed).digest(4)
        self._epoch = (_YEAR_2000 + int.from_bytes(digest, "little") % _TWENTY_YEARS) * 1_000_000_000
        self._now = 0

    def resolution(self, clock: int) -> int:
        return _READING_NS

    def time(self, clock: int) -> int:
        self._now += _READING_NS
        return min(self._now + (self._epoch if clock == REALTIME else 0), LARGEST)

    def now(self) -> int:
        return min(self._epoch + self._now, LARGEST)

    def sleep(self, duration: int) -> None:
        self._now += duration


class RealClock:
    _IDS: Final = (
        time.CLOCK_REALTIME,
        time.CLOCK_MONOTONIC,
        time.CLOCK_PROCESS_CPUTIME_ID,
        time.CLOCK_THREAD_CPUTIME_ID,
    )

    def resolution(self, clock: int) -> int:
        return max(1, round(time.clock_getres(self._IDS[clock]) * 1e9))

    def time(self, clock: int) -> int:
        return time.clock_gettime_ns(self._IDS[clock])

    def now(self) -> int:
        return time.time_ns()

    def sleep(self, duration: int) -> None:
        # The wall-time limit is what ends a long sleep: the node kills the process.
        rest = duration / 1e9
        while rest > 0:
            time.sleep(min(rest, _LONGEST_NAP))
            rest -= _LONGEST_NAP


class SeededRandom:
    def __init__(self, seed: bytes) -> None:
        self._seed = b"plasm random" + seed
        self._counter = 0
        self._left = b""

    def take(self, count: int) -> bytes:
        while len(self._left) < count:
            block = shake_256(self._seed + self._counter.to_bytes(8, "little")).digest(_BLOCK)
            self._left += block
            self._counter += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken


class RealRandom:
    def take(self, count: int) -> bytes:
        return os.urandom(count)
