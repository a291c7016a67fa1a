"""How much of what it took a node keeps, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Sizes in bytes, times in seconds."""

    slots: int
    """Jobs that run at once; one more runs beside them where those of its network were short lately."""
    memory_bytes: int
    """Of all jobs that run at once, with what their processes take beside."""
    compile_slots: int
    keep_seconds: int
    input_bytes: int
    """Of the inputs of all jobs that have not ended."""
    modules_bytes: int
    transfer_seconds: int
