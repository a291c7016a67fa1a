"""One deterministic WASI preview 1 for all engines: arguments, streams, clocks, chance, and files in memory.

Source: the witx of ``wasi_snapshot_preview1``; ``specs/wasi.md`` says what it leaves open. The layer knows no engine.
"""

from __future__ import annotations

from .clocks import Clock, Random, RealClock, RealRandom, SeededRandom, VirtualClock
from .layer import FUNCTIONS, MODULE, VERSION, Wasi, call
from .stops import Exit, HostCallsSpent, OutputFull, Stop

__all__ = [
    "FUNCTIONS",
    "MODULE",
    "VERSION",
    "Clock",
    "Exit",
    "HostCallsSpent",
    "OutputFull",
    "Random",
    "RealClock",
    "RealRandom",
    "SeededRandom",
    "Stop",
    "VirtualClock",
    "Wasi",
    "call",
]
