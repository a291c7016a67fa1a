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
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .landlock import NO_LANDLOCK, Landlock, restrict, ruleset

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
_FAR_AWAY = 1 << 30
RUN_NICENESS = 2
"""Two thirds of the share of a process that has none (``sched_prio_to_weight`` in Linux): the node goes on however many
jobs run. With more of it short runs wait for others whenever the processors are busy."""
COMPILE_NICENESS = 10
"""A sixth of the share of a run. With less, a node that is busy with runs would hardly compile."""

Steps = Sequence[tuple[Callable[..., object], tuple[Any, ...]]]
"""Functions that raise :exc:`OSError` where they fail, and their arguments."""


class Walls(NamedTuple):
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


def give_way(niceness: int) -> None:
    """Leave others more of the processors: children inherit it, as long as they stay in this session.

    Where the kernel shares the processors between sessions (``autogroup`` in sched(7)) their niceness counts alone.
    """
    os.nice(niceness)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write(str(niceness))


def take_long_turns() -> None:
    """As a long compilation: interrupt nobody who wakes up."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


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
        descriptor = ruleset(walls.landlock)
        try:
            restrict(descriptor)
        finally:
            os.close(descriptor)


class Door:
    """By which cells of a warm parent go behind their walls.

    It is made by the warm parent, and so is all that can be: in a cell each object that is made or touched for the
    first time may cost the copy of a page.
    """

    def __init__(self, walls: Walls) -> None:
        """Raises :exc:`OSError`."""
        self._threads = walls.threads
        # A domain for each cell: by the warm parent's alone a cell could signal its neighbours.
        self._ruleset = ruleset(walls.landlock) if walls.landlock.abi else -1
        self._filter = _Program(len(walls.seccomp) // _INSTRUCTION, walls.seccomp) if walls.seccomp else None

    def steps(self, parent: int, connection: int, file_bytes: int) -> Steps:
        """What a cell does first, in an order that holds.

        `connection` becomes :data:`CELL_SOCKET`, and nothing else stays open.
        """
        made: list[tuple[Callable[..., object], tuple[Any, ...]]] = [
            (os.dup2, (connection, CELL_SOCKET)),
            (die_with, (parent,)),
            # In the session of the warm parent: in one of its own each cell would be given as much as the node.
            (os.setpgid, (0, 0)),
            (_prctl, (_PR_SET_NAME, b"plasm-cell")),
            (_prctl, (_PR_SET_NO_NEW_PRIVS, 1)),
            (_prctl, (_PR_SET_DUMPABLE, 0)),
            (resource.setrlimit, (resource.RLIMIT_NOFILE, (CELL_OPEN_FILES, CELL_OPEN_FILES))),
            # No file, and no memory file either, becomes larger than this.
            (resource.setrlimit, (resource.RLIMIT_FSIZE, (file_bytes, file_bytes))),
        ]
        if not self._threads:
            made.append((resource.setrlimit, (resource.RLIMIT_NPROC, (0, 0))))
        if self._ruleset >= 0:
            made.append((restrict, (self._ruleset,)))
        made.append((_close_from, (CELL_SOCKET + 1,)))
        if self._filter is not None:
            made.append((_prctl, (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(self._filter))))
        return made


def take(made: Steps) -> None:
    """Raises :exc:`OSError` where one of them fails; those after it are not taken then."""
    for step, arguments in made:
        step(*arguments)


def rehearse(parent: int) -> None:
    """Take such steps as change nothing in a warm parent, so that the interpreter has seen them."""
    unchanged = resource.getrlimit(resource.RLIMIT_CORE)
    take(
        [
            (_close_from, (_FAR_AWAY,)),
            (die_with, (parent,)),
            (resource.setrlimit, (resource.RLIMIT_CORE, unchanged)),
        ]
    )


def _close_from(descriptor: int) -> None:
    if _close_range(_CLOSE_RANGE, descriptor, 0xFFFFFFFF, 0):
        os.closerange(descriptor, 1024)


def limit_memory(most_bytes: int, for_good: bool) -> bool:
    """Writable private memory of the process (``RLIMIT_DATA``); address space that is only reserved does not count.

    Whether it may have that much: the node was perhaps started with less.
    """
    return _limit(resource.RLIMIT_DATA, most_bytes, for_good)


def limit_cpu(more_seconds: float, for_good: bool) -> None:
    """The process gets SIGXCPU after this much more CPU time; rounded up to whole seconds."""
    _limit(resource.RLIMIT_CPU, int(time.process_time() + min(more_seconds, 1e9)) + 2, for_good)


def _limit(kind: int, value: int, for_good: bool) -> bool:
    _, hard = resource.getrlimit(kind)
    granted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (granted, granted if for_good else hard))
    return granted == value


def data_bytes() -> int:
    """Writable private memory of this process: data and stack, field 6 of proc_pid_statm(5)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read(128).split()[5]) * resource.getpagesize()
