"""Exit codes of commands, as a shell shows the signals that they stand for."""

from __future__ import annotations

from typing import Final

from plasm.ports import Verdict

OK: Final = 0
NO: Final = 1
"""A command that asks was answered with no."""
USAGE: Final = 2
TIMED_OUT: Final = 124
FAILED: Final = 125
"""Plasm failed: no node, rejected, receipt refused, broken plugin."""
NOT_RUNNABLE: Final = 126
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
"""As a shell shows a program that SIGPIPE ended."""

OF_VERDICT: Final = {
    Verdict.TRAPPED: 134,
    Verdict.OUT_OF_FUEL: 152,
    Verdict.TIMED_OUT: TIMED_OUT,
    Verdict.OUT_OF_MEMORY: 137,
    Verdict.OUTPUT_LIMIT: 153,
    Verdict.HOST_CALL_LIMIT: 153,
    Verdict.CELL_DIED: FAILED,
    Verdict.NOT_RUNNABLE: NOT_RUNNABLE,
}
"""ABRT, XCPU, KILL and XFSZ; a program that exited passes its own code on."""


def exit_code(verdict: Verdict, own: int | None) -> int:
    """What a command that ran a job exits with; `own` is the program's code where the verdict is ``exited``."""
    if verdict is Verdict.EXITED:
        return own if own is not None else FAILED
    return OF_VERDICT[verdict]
