"""Tiny modules for ``wasi_snapshot_preview1`` that runtimes are tried with, each as WebAssembly text and in binary.

The binary is what the text assembles to; carrying both spares an assembler to whoever runs the suite.
"""

from __future__ import annotations

from plasm.testing.modules.answers import ARGS, BOTH, ECHO, ENV, EXIT, RETURNS
from plasm.testing.modules.entropy import CLOCK, RANDOM
from plasm.testing.modules.faults import RECURSE, TRAP
from plasm.testing.modules.files import FILES
from plasm.testing.modules.hunger import CHATTER, FLOOD, GROW, HUNGRY, SLEEP, SPIN
from plasm.testing.modules.module import Module, digest_of, distinct
from plasm.testing.modules.unrunnable import MISSING_IMPORT, NO_START, UNRUNNABLE

__all__ = [
    "ARGS",
    "BOTH",
    "CHATTER",
    "CLOCK",
    "ECHO",
    "ECHO_VERSIONS",
    "ENV",
    "EXIT",
    "FILES",
    "FLOOD",
    "GROW",
    "HUNGRY",
    "MISSING_IMPORT",
    "NO_START",
    "RANDOM",
    "RECURSE",
    "RETURNS",
    "RUNNABLE",
    "SLEEP",
    "SPIN",
    "TRAP",
    "UNRUNNABLE",
    "Module",
    "digest_of",
    "distinct",
]

RUNNABLE = (
    RETURNS,
    EXIT,
    ECHO,
    ARGS,
    ENV,
    BOTH,
    FILES,
    TRAP,
    RECURSE,
    SPIN,
    SLEEP,
    GROW,
    HUNGRY,
    FLOOD,
    CHATTER,
    RANDOM,
    CLOCK,
)
"""Every module here that a runtime must take."""

ECHO_VERSIONS = tuple(distinct(ECHO.wasm, number) for number in range(4))
"""Modules that all do what `ECHO` does, each with a digest of its own."""
