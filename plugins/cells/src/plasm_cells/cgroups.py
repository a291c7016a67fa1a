"""Memory control groups, one for each warm parent and its cells, where this machine lets the node make them.

Folders are named ``plasm-PID-START-TOKEN`` after the node, so that those of nodes that are gone can be told and
removed. Sources: the kernel's ``admin-guide/cgroup-v1/memory.rst`` and ``admin-guide/cgroup-v2.rst``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import anyio

_PREFIX = "plasm-"
_REMOVE_ATTEMPTS = 50
_REMOVE_PAUSE = 0.02
"""A group whose last process was reaped can stay busy for a moment."""


class Starved(Enum):
    """For want of whose memory the kernel killed a process of a group."""

    GROUP = "the group's own limit was reached"
    MACHINE = "the machine, or a group above, had no more"


@dataclass(frozen=True)
class _Names:
    limit: str
    swap: str
    peak: str
    counters: str


_V1 = _Names("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control")
_V2 = _Names("memory.max", "memory.swap.max", "memory.peak", "memory.events")
_NEAR_BYTES = 1 << 20
"""A group that its own limit stopped came so near to it: the kernel charges 256 KiB at once."""


class Group:
    """One group. Methods are fast; they raise nothing: what the kernel refuses is not limited or not known."""

    def __init__(self, folder: Path, version: int) -> None:
        self.folder = folder
        self._names = _V1 if version == 1 else _V2
        self._version = version
        self._limit: int | None = None
        self._peak = -1
        self._counted: dict[str, int] = {}
        with contextlib.suppress(OSError):
            # A peak that was reset through a descriptor counts from then on, for that descriptor, on v2.
            self._peak = os.open(folder / self._names.peak, os.O_RDWR | os.O_CLOEXEC)

    def adopt(self, pid: int) -> bool:
        """Move a process here; its later children start here. Takes milliseconds."""
        return self._write("cgroup.procs", pid)

    def limit(self, most_bytes: int) -> None:
        if most_bytes == self._limit:
            return
        limited = self._write(self._names.limit, most_bytes)
        # Swap is no way out: v2 counts it apart, v1 together with memory and never below it.
        self._write(self._names.swap, 0 if self._version == 2 else most_bytes)
        if limited or self._write(self._names.limit, most_bytes):
            self._limit = most_bytes

    def reset_peak(self) -> bool:
        """Whether :attr:`peak` counts from now on."""
        try:
            return os.pwrite(self._peak, b"0" if self._version == 1 else b"reset", 0) > 0
        except OSError:
            return False

    @property
    def peak(self) -> int | None:
        """The most bytes since :meth:`reset_peak`."""
        try:
            return int(os.pread(self._peak, 32, 0))
        except (OSError, ValueError):
            return None

    def starved(self) -> Starved | None:
        """For want of whose memory the kernel killed processes here since this was asked last, if it did.

        ``oom_kill`` counts what any killer took from the group.
        """
        before, self._counted = self._counted, self._counts()
        grown = {name for name, count in self._counted.items() if count > before.get(name, 0)}
        if "oom_kill" not in grown:
            return None
        if self._version == 2:
            # Counted where the limit stands that was reached; no group is below this one.
            reached = "oom" in grown
        else:
            # Its count of failures (memory.failcnt) stays zero on some kernels.
            reached = self._limit is not None and (self.peak or 0) >= self._limit - _NEAR_BYTES
        return Starved.GROUP if reached else Starved.MACHINE

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError):
            for line in (self.folder / self._names.counters).read_text().splitlines():
                name, _, value = line.partition(" ")
                counts[name] = int(value)
        return counts

    def close(self) -> None:
        if self._peak >= 0:
            os.close(self._peak)
            self._peak = -1

    def _write(self, name: str, value: int) -> bool:
        try:
            (self.folder / name).write_text(str(value))
        except OSError:
            return False
        return True


class Groups:
    """The groups of one runtime, all below `parent`."""

    def __init__(self, parent: Path, version: int) -> None:
        self.parent = parent
        self.version = version
        self._made: list[Group] = []

    def make(self) -> Group | None:
        """``None`` where the kernel lets none be made (any more)."""
        folder = _new_folder(self.parent)
        try:
            folder.mkdir()
        except OSError:
            return None
        group = Group(folder, self.version)
        self._made.append(group)
        return group

    def sweep(self) -> None:
        """Remove what nodes that are gone left."""
        for folder in _folders(self.parent):
            pid, _, rest = folder.name.removeprefix(_PREFIX).partition("-")
            start = rest.partition("-")[0]
            if pid.isdecimal() and _name_of(int(pid)) != f"{pid}-{start}":
                with contextlib.suppress(OSError):
                    folder.rmdir()

    async def remove(self) -> list[Path]:
        """Remove those that were made, whose processes have ended; what stayed is returned."""
        for group in self._made:
            group.close()
        left = [group.folder for group in self._made]
        self._made.clear()
        for _ in range(_REMOVE_ATTEMPTS):
            left = [folder for folder in left if not _removed(folder)]
            if not left:
                break
            await anyio.sleep(_REMOVE_PAUSE)
        return left


def find(root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc/self")) -> Groups | None:
    """Where this process may make groups that limit memory; ``None`` where it may not."""
    try:
        memberships = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
    except (OSError, ValueError):
        return None
    for _, controllers, path in memberships:
        if "memory" in controllers.split(","):
            for folder in (root / "memory" / path.lstrip("/"), root / "memory"):
                if _can_make(folder, _V1):
                    return Groups(folder, 1)
            return None
    for _, controllers, path in memberships:
        if controllers == "" and (root / "cgroup.controllers").exists():
            own = root / path.lstrip("/")
            # A group with processes of its own has no groups that limit memory: then one beside it.
            for folder in dict.fromkeys((own, own.parent if own != root else own)):
                with contextlib.suppress(OSError):
                    (folder / "cgroup.subtree_control").write_text("+memory")
                if _can_make(folder, _V2):
                    return Groups(folder, 2)
    return None


def _can_make(folder: Path, names: _Names) -> bool:
    trial = _new_folder(folder)
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        return os.access(trial / names.limit, os.W_OK) and os.access(trial / "cgroup.procs", os.W_OK)
    finally:
        _removed(trial)


def _new_folder(parent: Path) -> Path:
    return parent / f"{_PREFIX}{_name_of(os.getpid())}-{secrets.token_hex(4)}"


def _folders(parent: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from [Path(entry.path) for entry in os.scandir(parent) if entry.name.startswith(_PREFIX)]


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _name_of(pid: int) -> str:
    """The process's number and start time: numbers are given again."""
    try:
        start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = "0"
    return f"{pid}-{start}"
