"""Behind seccomp stand walls that hold without it: landlock, another user, resource limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from plasm_cell import landlock

from plasm.ports import Verdict
from tests.hostile_modules.cells import Cells, Targets, opened

PATHS = 1
SOCKETS = 4
SCOPES = 6
"""From which ABI on landlock denies that."""
DENIED = {
    "open the list of users": (PATHS, "EACCES"),
    "open its own memory": (PATHS, "EACCES"),
    "open the node's memory": (PATHS, "EACCES"),
    "list a folder": (PATHS, "EACCES"),
    "read the node's key": (PATHS, "EACCES"),
    "write the cache": (PATHS, "EACCES"),
    "write a file for all": (PATHS, "EACCES"),
    "open shared memory": (PATHS, "EACCES"),
    "open by openat2": (PATHS, "EACCES"),
    "make a folder": (PATHS, "EACCES"),
    "remove the key": (PATHS, "EACCES"),
    "rename the key": (PATHS, "EACCES"),
    "link the key": (PATHS, "EACCES"),
    "make a symbolic link": (PATHS, "EACCES"),
    "execute": (PATHS, "EACCES"),
    "execute at": (PATHS, "EACCES"),
    "trace the node": (PATHS, "EPERM"),
    "trace the warm parent": (PATHS, "EPERM"),
    "read the node's memory": (PATHS, "EPERM"),
    "write the node's memory": (PATHS, "EPERM"),
    "connect by TCP": (SOCKETS, "EACCES"),
    "connect to an abstract socket": (SCOPES, "EPERM"),
    "ask for the node": (SCOPES, "EPERM"),
    "ask for the warm parent": (SCOPES, "EPERM"),
    "signal by a descriptor": (SCOPES, "EPERM"),
    "fork": (0, "EAGAIN"),
    "clone": (0, "EAGAIN"),
    "make memory files without end": (0, "EFBIG"),
    "take all descriptors": (0, "EMFILE"),
    "use inherited descriptors": (0, "EBADF or EPERM"),
    "raise its limits": (0, "EPERM"),
    "become root": (0, "EPERM"),
    "take capabilities": (0, "EPERM"),
    "want new privileges": (0, "EINVAL"),
    "mount": (0, "EPERM"),
    "change the root": (0, "EPERM"),
    "limit the node": (0, "EPERM"),
}


@pytest.fixture(scope="module")
def cells(targets: Targets) -> Iterator[Cells]:
    with opened(targets, seccomp=False) as cells:
        yield cells


@pytest.mark.parametrize(("attempt", "wall"), DENIED.items(), ids=DENIED)
def test_without_seccomp_it_is_denied_as_well(cells: Cells, attempt: str, wall: tuple[int, str]) -> None:
    abi, reason = wall
    if landlock.probe().abi < abi:
        pytest.skip(f"this kernel's landlock does not deny that before ABI {abi}")
    outcome = cells.attempt(attempt)
    assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, f"denied: {reason}".encode())
