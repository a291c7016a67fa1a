"""The memory that jobs which run at once may have together."""

from __future__ import annotations

import itertools
import math
from contextlib import AbstractAsyncContextManager

from plasm.jobs.budget import Budget
from plasm.shares import Origin


class RunningMemory:
    """At most `most` bytes are held at once. First come, first served; what is larger than `most` is held alone."""

    def __init__(self, most: int) -> None:
        self._budget = Budget(most, most)
        self._runs = itertools.count()

    def held(self, size: int) -> AbstractAsyncContextManager[None]:
        """Waits until there is room for `size` bytes (:func:`plasm.memory.memory_of`), and holds it for the block.

        Who may run next was decided before, so each run is an origin of its own here and none passes another.
        """
        return self._budget.part(Origin(network=f"run {next(self._runs)}"), size, math.inf)
