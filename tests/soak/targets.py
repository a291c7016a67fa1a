"""The processes of a node that may be killed, found by their parents from the node's own number."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

import psutil

_START = "plasm_cell.warm"
"""In the argument of a warm parent after which follow the number of its socket, its parent's and its role."""
_AFTER_THE_START = 3


@dataclass(frozen=True)
class Target:
    """A process; `role` is ``run`` or ``compile``, with `cell` of a cell and else of a warm parent."""

    pid: int
    parent: int
    role: str
    cell: bool

    @property
    def kind(self) -> str:
        return f"{self.role} {'cell' if self.cell else 'parent'}"

    def kill(self) -> bool:
        """Whether it was there to be killed."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # The number may be another's by now; what the descriptor is of cannot change any more.
            process = psutil.Process(self.pid)
            if process.ppid() != self.parent or process.status() == psutil.STATUS_ZOMBIE:
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False
        finally:
            os.close(descriptor)
        return True


KINDS = ("run cell", "run parent", "compile cell", "compile parent")


def targets(node: int, kind: str) -> list[Target]:
    """Those of one of :data:`KINDS`."""
    wanted, _, what = kind.partition(" ")
    found = []
    for parent in _children(node):
        role = _role(parent)
        if role != wanted:
            continue
        if what == "parent":
            found.append(Target(parent.pid, node, role, cell=False))
        else:
            found += [Target(child.pid, parent.pid, role, cell=True) for child in _children(parent.pid)]
    return found


def alive(process: psutil.Process) -> bool:
    """Whether it runs; nobody may have waited for it yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children()
    return []


def _role(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        arguments = process.cmdline()
        for number, argument in enumerate(arguments[:-_AFTER_THE_START]):
            if _START in argument:
                return arguments[number + _AFTER_THE_START]
    return ""
