"""What a node holds over time, and whether it grows."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import psutil
from plasm_cells import cgroups

ALLOWED: dict[str, tuple[str, float]] = {
    "memory": ("MiB", 32.0),
    "memory of its processes": ("MiB", 64.0),
    "descriptors": ("", 16.0),
    "threads": ("", 16.0),
    "processes": ("", 4.0),
    "control groups": ("", 2.0),
    "shared memory": ("", 4.0),
    "files": ("", 4.0),
}
"""Unit of each quantity and by how much it may rise after the warm-up, whatever the length of the run.

Shared memory is all of this machine's. Files are those of the home, without the modules that jobs bring and what is
compiled of them, which the node bounds by their size. Processes come and go with the jobs, and threads and descriptors
with what happens at once; a leak of one in a thousand jobs goes above each of these within an hour.
"""
WARM_UP = 0.3
"""The part of a run that is not looked at: imports, caches and pools fill."""
_MOST_POINTS = 300
_BY_CONTENT = ("objects", "compiled")
"""The folders of modules."""
_MIB = 2**20

Sample = tuple[float, dict[str, float]]


@dataclass(frozen=True)
class Growth:
    """How one quantity went after the warm-up. `rise` is over the time looked at."""

    name: str
    unit: str
    first: float
    last: float
    rise: float
    per_hour: float
    allowed: float

    @property
    def harmless(self) -> bool:
        return self.rise <= self.allowed


class Watch:
    """Samples of one node and its children."""

    def __init__(self, pid: int, home: Path) -> None:
        self._process = psutil.Process(pid)
        self._home = home
        # Where this process may make groups the node may: it is its child.
        found = cgroups.find()
        self._groups = None if found is None else found.parent
        self.samples: list[Sample] = []

    def sample(self) -> dict[str, float]:
        """What the process holds now. Raises :exc:`psutil.NoSuchProcess`."""
        children = self._process.children(recursive=True)
        memory = 0
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory += child.memory_info().rss
        return {
            "memory": self._process.memory_info().rss / _MIB,
            "memory of its processes": memory / _MIB,
            "descriptors": self._process.num_fds(),
            "threads": self._process.num_threads(),
            "processes": len(children),
            "control groups": len(self.groups()),
            "shared memory": len(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else 0,
            "files": self._files(),
        }

    def groups(self) -> list[Path]:
        """The control groups that the node has now."""
        return [] if self._groups is None else list(self._groups.glob(f"plasm-{self._process.pid}-*"))

    def _files(self) -> int:
        found = 0
        for folder, folders, names in os.walk(self._home):
            folders[:] = [name for name in folders if name not in _BY_CONTENT]
            if os.path.basename(folder) == "job-files":
                # Their number goes by what is kept; one that no row names is left over.
                names = [*set(names) - self._named_files()]
            found += len(names)
        return found

    def _named_files(self) -> set[str]:
        """The files that rows of the journal name."""
        with contextlib.closing(sqlite3.connect(f"file:{self._home / 'journal.sqlite'}?mode=ro", uri=True)) as journal:
            return {
                name
                for names in journal.execute("SELECT input_file, output_file FROM jobs").fetchall()
                for name in names
                if name is not None
            }

    def children(self) -> list[psutil.Process]:
        return self._process.children(recursive=True)

    async def run(self, every_seconds: float) -> None:
        """Sample until cancelled, or until the process is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            while True:
                self.samples.append((time.monotonic(), self.sample()))
                await anyio.sleep(every_seconds)


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """How each quantity went after the warm-up; nothing where there are too few samples to tell."""
    kept = samples[int(len(samples) * WARM_UP) :]
    if len(kept) < 4:
        return []
    kept = kept[:: -(-len(kept) // _MOST_POINTS)]
    seconds = kept[-1][0] - kept[0][0]
    quarter = max(1, len(kept) // 4)
    found = []
    for name, (unit, allowed) in ALLOWED.items():
        slope = _slope([(at, values[name]) for at, values in kept])
        found.append(
            Growth(
                name=name,
                unit=unit,
                first=statistics.median(values[name] for _, values in kept[:quarter]),
                last=statistics.median(values[name] for _, values in kept[-quarter:]),
                rise=slope * seconds,
                per_hour=slope * 3600,
                allowed=allowed,
            )
        )
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs (Theil and Sen): a few outliers do not move it."""
    slopes = [
        (later - earlier) / (at_later - at_earlier)
        for (at_earlier, earlier), (at_later, later) in itertools.combinations(points, 2)
        if at_later > at_earlier
    ]
    return statistics.median(slopes) if slopes else 0.0


def as_document(growth: Growth) -> dict[str, Any]:
    """For JSON."""
    return {
        "name": growth.name,
        "unit": growth.unit,
        "first": growth.first,
        "last": growth.last,
        "rise": growth.rise,
        "per_hour": growth.per_hour,
        "allowed": growth.allowed,
        "harmless": growth.harmless,
    }
