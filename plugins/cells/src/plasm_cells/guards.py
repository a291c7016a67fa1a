"""What this machine has to put around cells: found out before any process is started."""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from plasm_cell import landlock
from plasm_cell.landlock import NO_LANDLOCK, Landlock

from . import seccomp

_PR_GET_SECCOMP = 21
_PR_GET_NO_NEW_PRIVS = 39


@dataclass(frozen=True)
class Weakness:
    """One thing that this machine lacks: what, what follows, and what mends it."""

    lack: str
    mend: str

    def __str__(self) -> str:
        return self.lack


@dataclass(frozen=True)
class Machine:
    """What was found."""

    user: str | None = None
    """Whom cells become; ``None`` where they stay who the node is."""
    uid: int | None = None
    gid: int | None = None
    no_new_privs: bool = True
    landlock: Landlock = NO_LANDLOCK
    seccomp: bool = False
    weaknesses: tuple[Weakness, ...] = field(default=())

    @property
    def guards(self) -> tuple[str, ...]:
        """Words for receipts."""
        named = (
            (self.user is not None, f"uid:{self.user}"),
            (self.no_new_privs, "no_new_privs"),
            (self.landlock.abi > 0, f"landlock:{self.landlock.abi}"),
            (self.seccomp, "seccomp"),
            (True, "rlimits"),
        )
        return tuple(word for there, word in named if there)


Probe = Callable[[str], Machine]


def probe(user: str) -> Machine:
    """Look at this machine; as root cells become `user`. Blocks for some tens of milliseconds; changes nothing."""
    weaknesses: list[Weakness] = []
    uid, gid = _identity(user, weaknesses)
    no_new_privs = _prctl(_PR_GET_NO_NEW_PRIVS) >= 0
    if not no_new_privs:
        weaknesses.append(
            Weakness("the kernel has no no_new_privs: a cell could gain privileges", "use Linux 3.5 or later")
        )
    found = landlock.probe()
    if not found.abi:
        weaknesses.append(
            Weakness(
                "the kernel has no landlock: a program that escaped the engine could open this machine's files",
                "use Linux 5.13 or later with landlock in its lsm= list",
            )
        )
    filtered = _seccomp(weaknesses)
    return Machine(
        user=None if uid is None else user,
        uid=uid,
        gid=gid,
        no_new_privs=no_new_privs,
        landlock=found,
        seccomp=filtered,
        weaknesses=tuple(weaknesses),
    )


def _identity(user: str, weaknesses: list[Weakness]) -> tuple[int | None, int | None]:
    if os.geteuid() != 0:
        return None, None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        weaknesses.append(Weakness(f"there is no user {user!r} for cells, which would run as root", f"useradd {user}"))
        return None, None
    if entry.pw_uid == 0 or not (_is_mapped("uid", entry.pw_uid) and _is_mapped("gid", entry.pw_gid)):
        weaknesses.append(
            Weakness(
                f"cells cannot become {user!r} here and would run as root",
                "start the node as a user without privileges",
            )
        )
        return None, None
    return entry.pw_uid, entry.pw_gid


def _is_mapped(kind: str, number: int) -> bool:
    """Whether this user namespace has that number, and lets it be taken (user_namespaces(7))."""
    try:
        lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
        ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
        capabilities = next(
            int(line.split()[1], 16)
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("CapEff:")
        )
    except (OSError, ValueError, StopIteration):
        return False
    may = capabilities >> {"gid": 6, "uid": 7}[kind] & 1
    return bool(may) and any(first <= number < first + count for first, count in ranges)


def _seccomp(weaknesses: list[Weakness]) -> bool:
    follows = "a program that escaped the engine could make any system call"
    if _prctl(_PR_GET_SECCOMP) < 0:
        weaknesses.append(Weakness(f"the kernel has no seccomp: {follows}", "use a kernel with CONFIG_SECCOMP_FILTER"))
        return False
    try:
        seccomp.program((), compiles=False)
    except seccomp.Unavailable as error:
        weaknesses.append(
            Weakness(f"no seccomp filter can be made ({error}): {follows}", "apt-get install libseccomp2")
        )
        return False
    return True


def _prctl(option: int) -> int:
    zero = ctypes.c_ulong(0)
    result: int = ctypes.CDLL(None).prctl(ctypes.c_int(option), zero, zero, zero, zero)
    return result
