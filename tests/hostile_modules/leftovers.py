"""What a run could leave behind on this machine, looked at before and after."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_CACHE = "compiled"
"""The one folder of a runtime's home that jobs change: modules of honest and hostile jobs alike are compiled once."""
_HELD = "/memfd:compiled"
"""Modules that a runtime holds ready, bounded by its options."""
_IPC = ("shm", "msg", "sem")
_SETTLE_SECONDS = 5.0


def _descriptors() -> Counter[str]:
    """How many of each kind: sockets and descriptors of processes have no names that last."""
    kinds: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            kind = os.readlink(f"/proc/self/fd/{name}").partition(":[")[0]
            # The folder that is being listed is one of them.
            if not kind.startswith((_HELD, "/proc/")):
                kinds[f"descriptor of {kind}"] += 1
    return kinds


def _children(belonging: Collection[int]) -> Counter[str]:
    children = psutil.Process().children(recursive=True)
    return Counter(f"process {child.pid}" for child in children if child.pid not in belonging)


def _files(*folders: Path) -> Counter[str]:
    return Counter(str(path) for folder in folders for path in folder.rglob("*") if _CACHE not in path.parts[-2:])


def _groups() -> Counter[str]:
    own = f"plasm-{os.getpid()}-"
    return Counter(
        f"{folder}/{name}" for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names if name.startswith(own)
    )


def _kernel_objects() -> Counter[str]:
    found = Counter(f"/dev/shm/{name}" for name in os.listdir("/dev/shm") if "plasm" in name)
    for kind in _IPC:
        with suppress(OSError):
            # The numbers of processes and the times in the other columns change on their own.
            lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
            found += Counter(f"{kind} {line.split()[1]}" for line in lines)
    return found


def _all(folders: tuple[Path, ...], belonging: Collection[int] = ()) -> Counter[str]:
    return _descriptors() + _children(belonging) + _files(*folders) + _groups() + _kernel_objects()


@contextmanager
def nothing_left(*folders: Path) -> Iterator[None]:
    """Fails where the block leaves a process, a descriptor, a file in `folders`, a control group or shared memory."""
    before = _all(folders)
    yield
    left = _all(folders) - before
    assert not left, f"it left behind: {dict(left)}"


class Household:
    """The same for a runtime that goes on: it readies processes for the next job, so what it holds comes and goes."""

    def __init__(self, folders: tuple[Path, ...], belonging: Callable[[], Collection[int]], processes: int) -> None:
        """`belonging` are the runtime's processes, of which there are `processes` while it waits for a job."""
        self._folders = folders
        self._belonging = belonging
        deadline = time.monotonic() + _SETTLE_SECONDS
        while len(belonging()) != processes:
            assert time.monotonic() < deadline, f"the runtime has {len(belonging())} processes"
            time.sleep(0.02)
        self._usual = self._look()

    def check(self) -> None:
        """Fails where more than the usual stays."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while left := self._look() - self._usual:
            assert time.monotonic() < deadline, f"it left behind: {dict(left)}"
            time.sleep(0.02)

    def _look(self) -> Counter[str]:
        return _all(self._folders, self._belonging())
