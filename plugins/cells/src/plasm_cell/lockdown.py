"""The walls around a warm parent and around each cell, and the order in which they hold.

The uid first: changing it clears the death signal, and so does a fork. Then the death signal and the look at who the
parent is, since a parent that went before would never send it. Then ``no_new_privs``, which landlock and seccomp need
of an unprivileged process, and seccomp last, since it denies the system calls that build the others.

Sources: prctl(2), seccomp(2), credentials(7), getrlimit(2), close_range(2), proc_pid_statm(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
from dataclasses import dataclass
from typing import Any

from .landlock import NO_LANDLOCK, Landlock, restrict

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CLOSE_RANGE = 436
_INSTRUCTION = struct.calcsize("=HBBI")

OPEN_FILES = 256
CELL_OPEN_FILES = 16
CELL_SOCKET = 3
"""The one descriptor of a cell beside 0, 1 and 2, which are ``/dev/null``: an engine that panics writes to 2."""
MARGIN_BYTES = 96 << 20
"""What the engine itself may take while a job runs: stores, tables, exception objects, stacks."""


@dataclass(frozen=True)
class Walls:
    """What the node found that this machine has. ``uid`` and ``gid`` are ``None`` where they cannot change."""

    uid: int | None = None
    gid: int | None = None
    landlock: Landlock = NO_LANDLOCK
    seccomp: bytes = b""
    """A program of ``struct sock_filter``; empty where the kernel has no seccomp."""
    threads: bool = False
    """Whether the cell may make threads, which ``RLIMIT_NPROC`` counts as processes of the user."""

    @classmethod
    def decode(cls, fields: dict[str, Any]) -> Walls:
        return cls(
            fields["uid"],
            fields["gid"],
            Landlock(*fields["landlock"]),
            bytes.fromhex(fields["seccomp"]),
            fields["threads"],
        )

    def encode(self) -> dict[str, Any]:
        """Fit for JSON."""
        landlock = self.landlock
        return {
            "uid": self.uid,
            "gid": self.gid,
            "landlock": [landlock.abi, landlock.paths, landlock.tcp, landlock.scoped],
            "seccomp": self.seccomp.hex(),
            "threads": self.threads,
        }


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


# Made once, before any fork: in a cell each new type and each page that is written to costs microseconds.
_LIBC = ctypes.CDLL(None, use_errno=True)
_prctl_raw = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, use_errno=True
)(("prctl", _LIBC))
_close_range = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)(
    ("syscall", _LIBC)
)


def _prctl(option: int, first: int | bytes = 0, second: int = 0) -> None:
    """Numbers go as pointers do: both are as wide as a register."""
    if _prctl_raw(option, first, second, None, None):
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def die_with(parent: int) -> None:
    """SIGKILL when `parent` ends; where it has ended already this process ends at once."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def prepare(parent: int) -> None:
    """What a warm parent does before it imports an engine."""
    die_with(parent)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Ctrl-C is the node's business: it drains, and kills what is left.
        signal.signal(ignored, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where the machine runs out of memory, cells go before the node does.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")


def enter_warm(walls: Walls, parent: int) -> None:
    """What a warm parent does once it has imported all that it needs; cells inherit it, but for the death signal."""
    if walls.uid is not None and walls.gid is not None:
        os.setgroups([])
        os.setresgid(walls.gid, walls.gid, walls.gid)
        os.setresuid(walls.uid, walls.uid, walls.uid)
    die_with(parent)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    for kind in (resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE):
        resource.setrlimit(kind, (0, 0))
    if walls.landlock.abi:
        restrict(walls.landlock)


def take_socket(connection: int) -> None:
    """What a cell does first; `connection` becomes :data:`CELL_SOCKET`, and nothing else stays open."""
    if connection != CELL_SOCKET:
        os.dup2(connection, CELL_SOCKET)
    if _close_range(_CLOSE_RANGE, CELL_SOCKET + 1, 0xFFFFFFFF, 0):
        os.closerange(CELL_SOCKET + 1, 1024)


def enter_cell(walls: Walls, parent: int, file_bytes: int) -> None:
    """What a cell does then, in an order that holds."""
    die_with(parent)
    os.setsid()
    _prctl(_PR_SET_NAME, b"plasm-cell")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (CELL_OPEN_FILES, CELL_OPEN_FILES))
    if not walls.threads:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    # No file, and no memory file either, becomes larger than this.
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if walls.landlock.abi:
        # A domain of its own: by the warm parent's alone a cell could signal its neighbours.
        restrict(walls.landlock)
    if walls.seccomp:
        program = _Program(len(walls.seccomp) // _INSTRUCTION, walls.seccomp)
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def limit_memory(most_bytes: int, *, for_good: bool) -> None:
    """Writable private memory of the process (``RLIMIT_DATA``); address space that is only reserved does not count."""
    _limit(resource.RLIMIT_DATA, most_bytes, for_good)


def limit_cpu(more_seconds: float, *, for_good: bool) -> None:
    """The process gets SIGXCPU after this much more CPU time; rounded up to whole seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + min(more_seconds, 1e9)) + 2, for_good)


def _limit(kind: int, value: int, for_good: bool) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value if for_good else hard))


def data_bytes() -> int:
    """Writable private memory of this process: data and stack, field 6 of proc_pid_statm(5)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read(128).split()[5]) * resource.getpagesize()
