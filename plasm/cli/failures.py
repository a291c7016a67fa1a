"""From whatever a command raises to one line on stderr and an exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback

import click

from plasm.cli.context import CommandFailed
from plasm.errors import PlasmError, leaves, one_line
from plasm.exitcodes import FAILED, INTERRUPTED, NOT_RUNNABLE, PIPE_CLOSED, USAGE
from plasm.ports import NotRunnable, PortError


def report(error: BaseException, *, verbose: bool, as_json: bool = False, program: str = "plasm") -> int:
    """Say on stderr, as `program`, what failed, and with `verbose` where; return the exit code.

    With `as_json` stdout gets ``{"error": {"code": …, "message": …, "mend": …}}`` in one line too. A group of
    exceptions counts as the one in it that says most; :exc:`SystemExit` and click's own exit pass unsaid.
    """
    cause = _telling(error)
    match cause:
        case SystemExit():
            return _code_of(cause)
        case click.exceptions.Exit():
            return cause.exit_code
    if verbose:
        _to_stderr("".join(traceback.format_exception(error)).rstrip())
    if isinstance(cause, BrokenPipeError):
        # Whoever closed it has seen enough: as with any program that SIGPIPE ends.
        silence_stdout()
        return PIPE_CLOSED
    message, mend, code = _explained(cause)
    _to_stderr(f"{program}: {message}; {mend}" if mend else f"{program}: {message}")
    if as_json:
        _to_stdout(json.dumps({"error": {"code": code, "message": message, "mend": mend}}))
    return code


def _telling(error: BaseException) -> BaseException:
    causes = list(leaves(error))
    for kind in (SystemExit, click.exceptions.Exit, KeyboardInterrupt, PlasmError, click.ClickException, PortError):
        for cause in causes:
            if isinstance(cause, kind):
                return cause
    return causes[0]


def _explained(cause: BaseException) -> tuple[str, str, int]:
    """What failed, what mends it, and the exit code."""
    match cause:
        case PlasmError():
            return cause.message, cause.mend, cause.code if isinstance(cause, CommandFailed) else FAILED
        case NotRunnable():
            return one_line(str(cause)), "", NOT_RUNNABLE
        case PortError():
            return one_line(str(cause)), "", FAILED
        case click.UsageError():
            path = cause.ctx.command_path if cause.ctx is not None else "plasm"
            return one_line(cause.format_message()).rstrip("."), f"see {path} --help", USAGE
        case click.ClickException():
            # click's 1 would mean that a command which asks was answered no.
            code = cause.exit_code if type(cause).exit_code != click.ClickException.exit_code else FAILED
            return one_line(cause.format_message()), "", code
        case KeyboardInterrupt() | click.Abort():
            return "interrupted", "", INTERRUPTED
        case OSError():
            named = f"{cause.filename}: " if isinstance(cause.filename, str) else ""
            return one_line(f"{named}{cause.strerror or cause}"), "", FAILED
        case _:
            return one_line(f"unexpected {type(cause).__name__}: {cause}"), "-v shows where, please report it", FAILED


def _code_of(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code
    _to_stderr(one_line(str(leaving.code)))
    return FAILED


def silence_stdout() -> None:
    """Keep the interpreter from flushing into the closed pipe once more when it exits."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _to_stdout(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError:
        silence_stdout()


def _to_stderr(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        return
