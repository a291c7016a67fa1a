"""Modules that could not be compiled: what was said of each, so that it costs no second compilation for a while."""

from __future__ import annotations

from collections import OrderedDict

import anyio

from plasm.ports import Digest, NotPrepared

MODULES = 256
"""As many are remembered; the one whose failure is the oldest goes first."""


class UnpreparedModules:
    """Remembers each for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._found: OrderedDict[Digest, tuple[float, str]] = OrderedDict()

    def check(self, digest: Digest) -> None:
        """Raises :exc:`NotPrepared` with what was remembered of the module."""
        until, reason = self._found.get(digest, (0.0, ""))
        if not reason:
            return
        if anyio.current_time() < until:
            raise NotPrepared(reason)
        del self._found[digest]

    def remember(self, digest: Digest, reason: str) -> None:
        """The module could not be prepared; `reason` is said again until it is tried again."""
        self._found.pop(digest, None)
        self._found[digest] = (anyio.current_time() + self._seconds, reason)
        while len(self._found) > MODULES:
            self._found.popitem(last=False)
