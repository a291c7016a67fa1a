"""The memory that jobs which run at once may have together."""

from __future__ import annotations

import math
import sys
from contextlib import AbstractAsyncContextManager
from typing import Final

from plasm.jobs.budget import Budget
from plasm.ports import PeerId

_ANYONE: Final = PeerId("")
"""Whose job it is does not matter here: who runs next is decided before."""


class RunningMemory:
    """At most `most` bytes are held at once. First come, first served; what is larger than `most` is held alone."""

    def __init__(self, most: int) -> None:
        self._budget = Budget(most, sys.maxsize)

    def held(self, size: int) -> AbstractAsyncContextManager[None]:
        """Waits until there is room for `size` bytes (:func:`plasm.memory.memory_of`), and holds it for the block."""
        return self._budget.part(_ANYONE, size, math.inf)
