"""The standard streams of a program: open before anything else is, whoever started it."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Open on ``/dev/null`` those of the descriptors 0 to 2 that are closed, and give Python its streams on them.

    A supervisor may start a program without them (``>&-``). A socket or a database that then gets such a number takes
    whatever somebody prints. Call it first; it costs three system calls where nothing is closed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is this one: those below it are open by now.
            opened = os.open(os.devnull, os.O_WRONLY if descriptor else os.O_RDONLY)
            os.set_inheritable(opened, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115 - it stays open
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - it stays open
