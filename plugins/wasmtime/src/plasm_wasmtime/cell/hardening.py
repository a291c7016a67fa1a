"""Cheap walls around a cell: it dies with its parent, gains no privileges and has few resources.

Sources: prctl(2), getrlimit(2), proc_pid_statm(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
OPEN_FILES = 32
MARGIN_BYTES = 96 << 20
"""What the engine itself may take while a job runs: stores, tables, exception objects, stacks."""


def enter(parent: int) -> None:
    """Called first in the child. Ends it where `parent` is gone already: the death signal would never come."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
    if prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) or prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")
    if os.getppid() != parent:
        os._exit(1)
    for signals in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Ctrl-C is the node's business: it drains, and kills what is left.
        signal.signal(signals, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    # Where the machine runs out of memory, the cells go before the node does.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")


def limit_files(most_bytes: int) -> None:
    """No file, and no memory file either, becomes larger than this."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


def limit_memory(most_bytes: int) -> None:
    """Writable private memory of the process (``RLIMIT_DATA``); address space that is only reserved does not count."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most_bytes = min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, hard))


def limit_cpu(more_seconds: float) -> None:
    """The process gets SIGXCPU after this much more CPU time; rounded up to whole seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + min(more_seconds, 1e9)) + 2, hard))


class DataSize:
    """Reads how much writable memory this process has; the file stays open, so that it works behind later walls."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._page = resource.getpagesize()

    def __call__(self) -> int:
        """Bytes of data and stack (field 6 of proc_pid_statm(5))."""
        return int(os.pread(self._statm, 128, 0).split()[5]) * self._page
