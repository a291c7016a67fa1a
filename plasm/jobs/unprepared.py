"""Modules that a runtime could not prepare: the next job of one ends at once instead of costing another compilation."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import anyio

from plasm.ports import Digest, NotPrepared, NotRunnable, RuntimeFailed

MODULES = 256
"""As many are remembered of each kind of failure; the one that is the oldest goes first."""
FAILED_SECONDS = 300
"""What failed by the runtime itself is tried again after this; what is not runnable never is."""
NOT_PREPARED_SECONDS = 900
"""The same for what ran into the limits of compiling: the machine may have been busy, but whoever tries it again and
again must not have much of a slot for it."""
_LONGEST_DETAIL = 500

Unpreparable = NotRunnable | NotPrepared | RuntimeFailed
_Kind = type[NotRunnable] | type[NotPrepared] | type[RuntimeFailed]
_FOR_SECONDS: Final[dict[_Kind, float]] = {
    NotRunnable: math.inf,
    NotPrepared: NOT_PREPARED_SECONDS,
    RuntimeFailed: FAILED_SECONDS,
}


@dataclass(frozen=True)
class _Failure:
    detail: str
    times: int
    until: float


class Unprepared:
    """Failures of preparing, by runtime and module, for the life of the node.

    A runtime that fails is tried `tries` times; what is not runnable or was not prepared stays so.
    """

    def __init__(self, tries: int) -> None:
        self._tries = tries
        # Of each kind a table of its own: modules that fail cheaply would drive out those that fail after a minute.
        self._failures: dict[_Kind, OrderedDict[tuple[str, Digest], _Failure]] = {
            kind: OrderedDict() for kind in _FOR_SECONDS
        }

    def refuses(self, runtime: str, module: Digest) -> bool:
        """Whether the module is not worth another try."""
        return self._refusal(runtime, module) is not None

    def rejects(self, runtime: str, module: Digest) -> str | None:
        """Why no job with the module is taken for now, where it was not prepared; ``None`` where one may be."""
        failure = self._failure(NotPrepared, (runtime, module))
        return failure.detail if failure is not None else None

    def check(self, runtime: str, module: Digest) -> None:
        """Raises what preparing raised where the module is refused.

        :exc:`~plasm.ports.NotRunnable`, :exc:`~plasm.ports.NotPrepared` or :exc:`~plasm.ports.RuntimeFailed`.
        """
        refusal = self._refusal(runtime, module)
        if refusal is not None:
            raise refusal

    def failed(self, runtime: str, module: Digest, error: Unpreparable) -> None:
        """Preparing the module raised `error`."""
        kind = _kind(error)
        failures = self._failures[kind]
        earlier = failures.pop((runtime, module), None)
        times = earlier.times + 1 if earlier is not None else 1
        until = anyio.current_time() + _FOR_SECONDS[kind]
        failures[runtime, module] = _Failure(str(error)[:_LONGEST_DETAIL], times, until)
        while len(failures) > MODULES:
            failures.popitem(last=False)

    def prepared(self, runtime: str, module: Digest) -> None:
        """Preparing the module went well: what failed before is no matter."""
        for failures in self._failures.values():
            failures.pop((runtime, module), None)

    def _refusal(self, runtime: str, module: Digest) -> Unpreparable | None:
        for kind, failures in self._failures.items():
            failure = self._failure(kind, (runtime, module)) if failures else None
            if failure is not None and (kind is not RuntimeFailed or failure.times >= self._tries):
                return kind(failure.detail)
        return None

    def _failure(self, kind: _Kind, key: tuple[str, Digest]) -> _Failure | None:
        failure = self._failures[kind].get(key)
        if failure is not None and anyio.current_time() >= failure.until:
            del self._failures[kind][key]
            return None
        return failure


def _kind(error: Unpreparable) -> _Kind:
    return next(kind for kind in _FOR_SECONDS if isinstance(error, kind))
