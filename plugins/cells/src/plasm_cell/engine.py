"""What an engine implements to run inside a cell.

An engine is a module that is imported in the compile cell and in the warm parent, before any lockdown and before any
fork. It starts no thread and opens no descriptor that a forked cell would share.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

if TYPE_CHECKING:
    from .wasi import Wasi

TRAPS = {
    "stack_overflow": "the call stack is exhausted",
    "memory_out_of_bounds": "memory access out of bounds",
    "table_out_of_bounds": "table access out of bounds",
    "indirect_call_to_null": "indirect call to null",
    "bad_signature": "indirect call with another signature",
    "integer_overflow": "integer overflow",
    "integer_division_by_zero": "integer division by zero",
    "bad_conversion_to_integer": "invalid conversion to integer",
    "unreachable": "unreachable code was reached",
    "null_reference": "null reference",
    "heap_misaligned": "misaligned memory access",
    "allocation_too_large": "an allocation was too large",
    "uncaught_exception": "an exception was not caught",
    "other": "the engine stopped it",
}
"""The traps that a receipt can name, and the words for them."""


STARVED: Final = 75
"""The exit code of a cell that got less of the machine than the job's limits allow: ``EX_TEMPFAIL`` of sysexits.h."""


class Refused(Exception):
    """The module is not one that can run; the message is for people and may hold the module's own names.

    The node signs that as the module's own fault, so it is raised for what any machine finds in the bytes alone.
    """


class GaveUp(Exception):
    """The engine could not go on, and that is no end which another machine would find too; the message is for people.

    Raised for whatever an engine says that is no trap of the guest's, and by compilers for a valid module that they
    cannot compile.
    """


def starve() -> NoReturn:
    """End the process: the machine gives less memory than the job's limits allow.

    The guest never hears of it: a growth that is refused for any other reason than its limit would be an answer of the
    machine's in the result of the job.
    """
    os._exit(STARVED)


class Limits(NamedTuple):
    """What holds inside the cell. Bytes, seconds; `fuel` ``None`` for no limit.

    With `last` the process ends after the run: what an engine made for it need not be freed.
    """

    memory_bytes: int
    output_bytes: int
    wall_seconds: float
    fuel: int | None
    last: bool = False


class Ending(NamedTuple):
    """How the guest's code ended, as the engine saw it. With ``trap`` and ``error`` ``None`` it returned or stopped.

    Where a host function raised :exc:`~plasm_cell.wasi.Stop` the layer holds it (``Wasi.stop``), and what the engine
    made of that here is not looked at.
    """

    instantiated: bool = True
    trap: str | None = None
    """One of :data:`TRAPS`."""
    error: str | None = None
    """Which limit on what a module has at the start kept it from being instantiated, in one line."""
    out_of_fuel: bool = False
    refused_memory: bool = False
    """Whether growing (or making) a memory was refused because of the limit, and for no other reason."""
    fuel: int | None = None
    """Used, where the engine counts it."""
    peak_memory_bytes: int | None = None
    """Of the guest's memories."""


class Machine(Protocol):
    """An engine made ready once; it runs one guest at a time."""

    def load(self, artifact: memoryview, starts: bool) -> Any:
        """What :func:`Engine.compile_module` wrote, made ready to run. `starts` as :class:`Compiled` says."""

    def run(self, program: Any, layer: Wasi, limits: Limits) -> Ending:
        """Instantiate `program` against `layer` and call ``_start``.

        Keeps ``layer.memory`` a view of the guest's exported memory at each call of a host function, makes each call
        through :func:`plasm_cell.wasi.call`, and ends the guest where that raises :exc:`~plasm_cell.wasi.Stop`.
        Calls :func:`starve` where a memory below the limit cannot be had. Raises :exc:`GaveUp`.
        """


class Compiled(NamedTuple):
    """An artifact for :meth:`Machine.load`, and whether instantiating it runs code of the module (a start section)."""

    artifact: bytes
    starts: bool


class Engine(Protocol):
    """The module-level functions of an engine's module."""

    def compile_module(self, module: bytes) -> Compiled:
        """Check and compile. Raises :exc:`Refused`, :exc:`GaveUp`."""

    def machine(self) -> Machine: ...

    def system_calls(self) -> tuple[str, ...]:
        """Names of the system calls that the engine needs beside the cell's own, such as ``membarrier``."""


class LimitingEngine(Engine, Protocol):
    """An engine that compiles a module otherwise for jobs that limit their fuel."""

    def compile_limiting(self, module: bytes) -> Compiled:
        """As :meth:`Engine.compile_module`; what it gives can be held to an amount of fuel."""
