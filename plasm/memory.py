"""The memory that this node may have, and what it is for: runs, preparing modules, and the rest of the machine.

The parts are fractions of one number, so that what runs at once stays below it whatever each job asks for. Sources: the
kernel's ``admin-guide/cgroup-v2.rst`` and ``admin-guide/cgroup-v1/memory.rst``, cgroups(7), getrlimit(2).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from plasm.ports import Limits

try:
    import resource
except ImportError:  # Windows, where no node runs jobs in processes of its own.
    resource = None  # type: ignore[assignment]

BESIDE_BYTES: Final = 64 * 2**20
"""What a run takes beside all that its limits name: the engine, its process, the copy of its output in the node."""

_V1_FILES = ("memory.limit_in_bytes",)
_V2_FILES = ("memory.max", "memory.high")
"""Beyond ``memory.high`` the kernel slows a group down instead of killing in it: no room either."""


def usable_memory(root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc/self")) -> int:
    """Bytes that this process and its children may have: the machine's, or less where a control group has a limit.

    Looks at the groups of this process and at all above them that can be seen from here: inside a container the
    outermost is the container's own.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_group_limits(root, proc)])


def running_memory() -> int:
    """Bytes for all jobs that run at once, with what their processes take beside: five eighths."""
    return usable_memory() * 5 // 8


def preparing_memory() -> int:
    """Bytes for all modules that are prepared at once: a quarter. The last eighth is the node's and the system's."""
    return usable_memory() // 4


def memory_of_one_process() -> int | None:
    """The most that the limits of this process let a child have (``RLIMIT_DATA``, ``RLIMIT_AS``); ``None`` for none."""
    if resource is None:
        return None
    hard = [resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS)]
    return min((limit for limit in hard if limit != resource.RLIM_INFINITY), default=None)


def memory_of(limits: Limits) -> int:
    """The most bytes that a run within `limits` takes: its memory, its files and output, which are copied once."""
    return limits.memory_bytes + 2 * (limits.output_bytes + limits.file_bytes) + BESIDE_BYTES


def _group_limits(root: Path, proc: Path) -> Iterator[int]:
    try:
        memberships = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return
    for membership in memberships:
        if len(membership) != 3:
            continue
        _, controllers, path = membership
        if "memory" in controllers.split(","):
            yield from _limits_above(root / "memory", path, _V1_FILES)
        elif not controllers:
            yield from _limits_above(root, path, _V2_FILES)


def _limits_above(mount: Path, path: str, files: tuple[str, ...]) -> Iterator[int]:
    own = PurePosixPath(path.lstrip("/"))
    for group in (own, *own.parents):
        if ".." in group.parts:
            # Of a group outside of what this mount shows.
            continue
        for name in files:
            try:
                yield int((mount / group / name).read_text())
            except (OSError, ValueError):
                # Not there in this version or in the root group, or the word "max".
                continue
