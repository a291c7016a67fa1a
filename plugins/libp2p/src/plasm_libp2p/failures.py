"""Failures in log lines, with a peer's bytes in them or not."""

from __future__ import annotations

import logging

LONGEST_LINE = 200
"""Characters that are quoted of what an exception says."""


def one_line(error: BaseException) -> str:
    """Kind and message of `error`, or of the first in a group; escaped and cut."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    # Escaping makes longer, so that it is cut again; cutting first bounds the work.
    return f"{type(error).__name__}: {repr(str(error)[:LONGEST_LINE])[:LONGEST_LINE]}"


def warn(log: logging.Logger, what: str, error: BaseException) -> None:
    """Log `what`, which has no peer's bytes, and `error` as one line; its traceback, which may have, at debug only."""
    log.warning("%s: %s", what, one_line(error))
    log.debug("%s", what, exc_info=error)
