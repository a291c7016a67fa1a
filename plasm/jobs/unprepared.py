"""Modules that a runtime could not prepare: the next job of one ends at once instead of costing another compilation."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import anyio

from plasm.ports import Digest, NotRunnable, RuntimeFailed

MODULES = 256
"""As many are remembered; the one whose failure is the oldest goes first."""
FAILED_SECONDS = 300
"""What failed by the runtime itself or by its limits is tried again after this; what is not runnable never is."""
_LONGEST_DETAIL = 500


@dataclass(frozen=True)
class _Failure:
    kind: type[NotRunnable] | type[RuntimeFailed]
    detail: str
    times: int
    until: float


class Unprepared:
    """Failures of preparing, by runtime and module, for the life of the node."""

    def __init__(self, tries: int) -> None:
        self._tries = tries
        self._failures: OrderedDict[tuple[str, Digest], _Failure] = OrderedDict()

    def refuses(self, runtime: str, module: Digest) -> bool:
        """Whether the module is not worth another try: not runnable, or the runtime failed on it that often."""
        failure = self._failures.get((runtime, module))
        if failure is not None and anyio.current_time() >= failure.until:
            del self._failures[runtime, module]
            return False
        return failure is not None and failure.times >= self._tries

    def check(self, runtime: str, module: Digest) -> None:
        """Raises what preparing raised, :exc:`NotRunnable` or :exc:`RuntimeFailed`, where the module is refused."""
        if self.refuses(runtime, module):
            failure = self._failures[runtime, module]
            raise failure.kind(failure.detail)

    def failed(self, runtime: str, module: Digest, error: NotRunnable | RuntimeFailed) -> None:
        """Preparing the module raised `error`."""
        earlier = self._failures.pop((runtime, module), None)
        detail = str(error)[:_LONGEST_DETAIL]
        if isinstance(error, NotRunnable):
            failure = _Failure(NotRunnable, detail, self._tries, math.inf)
        else:
            times = earlier.times + 1 if earlier is not None else 1
            failure = _Failure(RuntimeFailed, detail, times, anyio.current_time() + FAILED_SECONDS)
        self._failures[runtime, module] = failure
        while len(self._failures) > MODULES:
            self._failures.popitem(last=False)

    def prepared(self, runtime: str, module: Digest) -> None:
        """Preparing the module went well: what failed before is no matter."""
        self._failures.pop((runtime, module), None)
