"""Who is asked: the providers in order, without those that rest, and what none of them had. No input, no output."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

LIE_SECONDS: Final = 3600.0
"""For which a provider that sent other content than was asked for is not asked."""
FAILURE_SECONDS: Final = 5.0
"""For which one that could not be reached, or made no sense, is not asked: it costs each question its deadline."""
MOST_ABSENT: Final = 1024
MOST_FOUND: Final = 16
"""Of providers that nobody named: who is found is a stranger."""


class Providers:
    """Providers by their URLs. Not for two threads at once."""

    def __init__(
        self, bases: Sequence[str], absent_seconds: float, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._order = list(dict.fromkeys(bases))
        self._found: list[str] = []
        self._resting: dict[str, tuple[float, str]] = {}
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._absent_seconds = absent_seconds
        self._now = now

    def found(self, base: str) -> None:
        """`base` says that it serves something: it is asked after all others."""
        if base in self._order or not self._room():
            return
        self._found.append(base)
        self._order.append(base)
        # It may have what the others have not.
        self._absent.clear()

    def _room(self) -> bool:
        """Whether one more stranger may be known, in the place of one that does not answer if need be."""
        if len(self._found) < MOST_FOUND:
            return True
        awake = self.awake()
        for each in self._found:
            if each not in awake:
                self._found.remove(each)
                self._order.remove(each)
                del self._resting[each]
                return True
        return False

    def __len__(self) -> int:
        return len(self._order)

    def awake(self) -> list[str]:
        """Those that may be asked, the one that had something last in front."""
        now = self._now()
        return [each for each in self._order if self._resting.get(each, (now, ""))[0] <= now]

    def resting(self) -> list[str]:
        """Why each of those that rest does; each one line."""
        now = self._now()
        return [reason for until, reason in self._resting.values() if until > now]

    def lied(self, base: str, reason: str) -> None:
        """`base` sent something else."""
        self._rest(base, LIE_SECONDS, reason)

    def failed(self, base: str, reason: str) -> None:
        """`base` did not answer the question, one way or the other."""
        self._rest(base, FAILURE_SECONDS, reason)

    def served(self, base: str) -> None:
        """`base` had what was asked for, and it was right."""
        self._move(base, 0)

    def had_nothing(self, base: str) -> None:
        """`base` does not have what was asked for: it is asked after all others."""
        self._move(base, len(self._order))

    # While it was asked, another may have taken its place.

    def _rest(self, base: str, seconds: float, reason: str) -> None:
        if base in self._order:
            self._resting[base] = (self._now() + seconds, reason)

    def _move(self, base: str, place: int) -> None:
        if base in self._order:
            self._order.remove(base)
            self._order.insert(place, base)

    def note_absent(self, hexadecimal: str) -> None:
        """No provider had it."""
        self._absent[hexadecimal] = self._now() + self._absent_seconds
        self._absent.move_to_end(hexadecimal)
        while len(self._absent) > MOST_ABSENT:
            self._absent.popitem(last=False)

    def is_absent(self, hexadecimal: str) -> bool:
        """Whether no provider had it a short while ago."""
        return self._absent.get(hexadecimal, 0.0) > self._now()
