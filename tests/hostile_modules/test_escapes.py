"""Code that has escaped its engine, in a cell as a node makes them: it reaches nothing, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plasm.ports import NotPrepared, NotRunnable, Verdict
from tests.hostile_modules.cells import Cells, Targets, opened
from tests.hostile_modules.escaped.attempts import ATTEMPTS, UNCOUNTED

DENIED = {
    "open the list of users": "EPERM",
    "open its own memory": "EPERM",
    "open the node's memory": "EPERM",
    "list a folder": "EPERM",
    "read the node's key": "EPERM",
    "write the cache": "EPERM",
    "write a file for all": "EPERM",
    "write to the control group": "EPERM",
    "open shared memory": "EPERM",
    "open by openat2": "EPERM",
    "stat the node's key": "EPERM",
    "look where it is": "EPERM",
    "use inherited descriptors": "EBADF or EPERM",
    "take all descriptors": "EMFILE",
    "send to another address": "EISCONN",
    "claim to be the node": "EPERM",
    "limit the node": "EPERM",
    "take another processor": "EPERM",
    "come before others": "EPERM",
    "become dumpable": "EPERM",
    "want new privileges": "EPERM",
    "outlive its parent": "EPERM",
    "raise its limits": "EPERM",
    "write to a terminal": "EPERM",
    "map 768 MiB": "ENOMEM",
    "reserve and open 64 GiB": "ENOMEM",
    "remap to 64 GiB": "ENOMEM",
    "move the break": "ENOMEM",
}
"""What libraries try too, so that the call fails and the process lives."""
ENDLESS = ("sleep for ever", "spin")
COMPILING = {
    **{name: reason for name, reason in DENIED.items() if name != "use inherited descriptors"},
    "fill the artifact": "EFBIG",
}
"""A process that compiles has one descriptor more, for what it makes, and may fill it up to a limit."""
KILLED = sorted({*ATTEMPTS} - {"nothing", *DENIED, *ENDLESS, *UNCOUNTED, *COMPILING})
"""The kernel ends the process at the call."""


@pytest.fixture(scope="module")
def cells(targets: Targets) -> Iterator[Cells]:
    with opened(targets, compile_seconds=1, compile_memory_bytes=128 << 20, artifact_bytes=8 << 20) as cells:
        yield cells


@pytest.mark.parametrize("attempt", KILLED)
def test_what_no_cell_may_do_ends_it(cells: Cells, attempt: str) -> None:
    outcome = cells.attempt(attempt)
    assert (outcome.verdict, outcome.stdout, outcome.stderr) == (Verdict.CELL_DIED, b"", b"")
    assert outcome.detail == "its process made a system call that no cell may make"


@pytest.mark.parametrize(("attempt", "reason"), DENIED.items(), ids=DENIED)
def test_what_a_library_may_try_is_denied(cells: Cells, attempt: str, reason: str) -> None:
    outcome = cells.attempt(attempt)
    assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, f"denied: {reason}".encode())


@pytest.mark.parametrize("attempt", ENDLESS)
def test_deaf_to_signals_it_ends_at_its_wall_time(cells: Cells, attempt: str) -> None:
    outcome = cells.attempt(attempt, wall_seconds=0.5)
    assert outcome.verdict is Verdict.TIMED_OUT


@pytest.mark.parametrize("attempt", KILLED)
def test_what_no_cell_may_do_ends_one_that_compiles(cells: Cells, attempt: str) -> None:
    with pytest.raises(NotPrepared, match="ended by signal SIGSYS"):
        cells.attempt(attempt, where="compile")


@pytest.mark.parametrize(("attempt", "reason"), COMPILING.items(), ids=COMPILING)
def test_what_a_library_may_try_is_denied_while_compiling(cells: Cells, attempt: str, reason: str) -> None:
    with pytest.raises(NotRunnable, match=f"^denied: {reason}$"):
        cells.attempt(attempt, where="compile")


@pytest.mark.parametrize("attempt", ENDLESS)
def test_deaf_to_signals_it_ends_at_the_deadline_of_compiling(cells: Cells, attempt: str) -> None:
    with pytest.raises(NotPrepared, match="takes more than 1 s"):
        cells.attempt(attempt, where="compile")
