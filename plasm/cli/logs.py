"""Log lines on stderr."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from plasm.errors import printable


class _OneLine(logging.Formatter):
    """Escapes what is unprintable: a line may quote what a peer sent, and must neither break nor steer a terminal."""

    def __init__(self, fmt: str) -> None:
        super().__init__(fmt)
        self._second = -1
        self._clock = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        # A busy node writes hundreds of lines in the same second.
        if (second := int(record.created)) != self._second:
            self._second = second
            self._clock = time.strftime(datefmt or self.default_time_format, time.localtime(second))
        return f"{self._clock},{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(printable, super().formatException(ei).splitlines()))

    def formatStack(self, stack_info: str) -> str:
        return "\n".join(map(printable, super().formatStack(stack_info).splitlines()))


def show_what_happens() -> None:
    """The node's own lines about jobs on stderr too: one to each that is rejected, ends, or is accepted and goes on."""
    log = logging.getLogger("plasm.node")
    if log.getEffectiveLevel() > logging.INFO:
        log.setLevel(logging.INFO)


def configure_logging(verbose: bool) -> None:
    """Warnings of Plasm and its plugins on stderr; with `verbose` all that they say, and the libraries' warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # What no line shows need not be found out for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.basicConfig(level=logging.WARNING if verbose else logging.CRITICAL, handlers=[handler])
    logging.getLogger("plasm").setLevel(logging.DEBUG if verbose else logging.WARNING)
