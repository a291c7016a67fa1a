"""A control group of processes that get a share of the processors between them, and no more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PERIOD = 100_000
"""Microseconds, the kernel's own default (Documentation/scheduler/sched-bwc.rst)."""


class NoGroups(Exception):
    """This machine lets us limit nobody's processor time; the message says why."""


@dataclass(frozen=True)
class ProcessorGroup:
    """A group of processes."""

    folder: Path

    def add(self, pid: int) -> None:
        """Put a process in, with all that it starts from now on."""
        (self.folder / "cgroup.procs").write_text(f"{pid}\n")


@contextlib.contextmanager
def processor_group(cores: float) -> Iterator[ProcessorGroup]:
    """A group whose members have `cores` of the processors' time together. Its members have ended when it is left.

    Raises :exc:`NoGroups`.
    """
    name = f"plasm-siege-{os.getpid()}"
    quota = round(cores * _PERIOD)
    unified = (_ROOT / "cgroup.controllers").exists()
    folder = (_ROOT if unified else _ROOT / "cpu") / name
    try:
        if unified:
            (_ROOT / "cgroup.subtree_control").write_text("+cpu\n")
        folder.mkdir()
    except OSError as error:
        raise NoGroups(f"cannot limit the attackers' processor time: {error} (run it as root)") from None
    try:
        try:
            if unified:
                (folder / "cpu.max").write_text(f"{quota} {_PERIOD}\n")
            else:
                (folder / "cpu.cfs_period_us").write_text(f"{_PERIOD}\n")
                (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        except OSError as error:
            raise NoGroups(f"cannot limit the attackers' processor time: {error}") from None
        yield ProcessorGroup(folder)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
