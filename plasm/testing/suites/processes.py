"""What the processes that this one started are doing, from ``/proc`` (proc(5)); nothing is known elsewhere."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_ticks_of_descendants() -> dict[int, int] | None:
    """Clock ticks that each living descendant of this process has used; ``None`` where there is no ``/proc``."""
    processes: dict[int, tuple[int, int]] = {}
    if not Path("/proc/self/stat").exists():
        return None
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            stat = Path(entry.path, "stat").read_text(errors="replace")
        except OSError:
            continue
        # The command stands in parentheses and may hold anything, parentheses too.
        fields = stat.rpartition(")")[2].split()
        state, parent, user, system = fields[0], int(fields[1]), int(fields[11]), int(fields[12])
        if state not in "ZX":
            processes[int(entry.name)] = (parent, user + system)
    family = {os.getpid()}
    while True:
        more = {pid for pid, (parent, _) in processes.items() if parent in family} - family
        if not more:
            break
        family |= more
    return {pid: ticks for pid, (_, ticks) in processes.items() if pid in family and pid != os.getpid()}
