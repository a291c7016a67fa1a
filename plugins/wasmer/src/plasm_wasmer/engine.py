"""The engine wasmer inside a cell, under Python 3.10: for later ones it has no wheels."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from plasm_cell import modules, wasi
from plasm_cell.binary import PAGE_BYTES
from plasm_cell.engine import Compiled, Ending, GaveUp, Limits, Refused, starve
from plasm_cell.instrument import BY_LIMIT, BY_MACHINE, Instrumented, instrument
from plasm_cell.wasi import Stop, Wasi

# Its compiler makes as many threads as this says; a cell may have one more than itself.
os.environ["RAYON_NUM_THREADS"] = "1"

import wasmer  # type: ignore[import-not-found]
from wasmer_compiler_cranelift import Compiler  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from plasm_cell.engine import Engine

_MASKS: Final = {"i": 0xFFFFFFFF, "I": 0xFFFFFFFFFFFFFFFF}
_TRAPS: Final = {
    "call stack exhausted": "stack_overflow",
    "out of bounds memory access": "memory_out_of_bounds",
    "undefined element: out of bounds table access": "table_out_of_bounds",
    "out of bounds table access": "table_out_of_bounds",
    "uninitialized element": "indirect_call_to_null",
    "indirect call type mismatch": "bad_signature",
    "integer overflow": "integer_overflow",
    "integer divide by zero": "integer_division_by_zero",
    "invalid conversion to integer": "bad_conversion_to_integer",
    "unreachable": "unreachable",
    "misaligned memory access": "heap_misaligned",
}
"""How wasmer names the traps: the first line of its message, without ``RuntimeError:``."""

_PANIC: Final = "PanicException"
"""The name of what is raised where wasmer fails on what it did not expect; it cannot be imported."""


class Failed(Exception):
    """wasmer says no to what was checked before."""


def compile_module(module: bytes) -> Compiled:
    """Check, rewrite and compile; the artifact is what wasmer serializes.

    Raises :exc:`Refused`, or :exc:`GaveUp` where wasmer fails on what it called valid.
    """
    parsed = modules.check(module)
    if parsed.throws:
        raise Refused("wasmer does not run it: it uses exception handling")
    store = _store()
    valid = False
    try:
        valid = wasmer.Module.validate(store, module)
        if not valid:
            # Only compiling says what is wrong.
            wasmer.Module(store, module)
            raise Refused("wasmer does not run it")
        made = instrument(module)
        compiled = wasmer.Module(store, made.module)
    except RuntimeError as error:
        kind = GaveUp if valid else Refused
        raise kind(f"wasmer does not run it: {_first_line(error)}") from None
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise GaveUp(f"its compiler gave up: {_first_line(error)}") from None
    return Compiled(replace(made, module=compiled.serialize()).encoded(), parsed.starts)


class Program:
    """A module that is ready to be instantiated, and what is to know of it."""

    def __init__(self, facts: Instrumented, module: Any) -> None:
        self.facts = facts
        self.module = module


class Machine:
    """wasmer and the host functions; see :class:`plasm_cell.engine.Machine`."""

    def __init__(self) -> None:
        self._store = _store()
        self._layer: Wasi | None = None
        self._memory: Any = None
        self._size = -1
        self._broken: BaseException | None = None
        self._imports = wasmer.ImportObject()
        self._imports.register(
            wasi.MODULE, {name: self._define(name, parameters) for name, parameters in wasi.FUNCTIONS.items()}
        )

    def load(self, artifact: memoryview, starts: bool) -> Program:
        """Raises :exc:`ValueError`, :exc:`RuntimeError`."""
        facts = Instrumented.decoded(bytes(artifact))
        return Program(replace(facts, module=b""), wasmer.Module.deserialize(self._store, facts.module))

    def run(self, program: Program, layer: Wasi, limits: Limits) -> Ending:
        """See :meth:`plasm_cell.engine.Machine.run`."""
        if limits.fuel is not None:
            raise Failed("wasmer does not count fuel")
        if (ending := program.facts.too_large(limits)) is not None:
            return ending
        self._layer, self._broken, self._size = layer, None, -1
        try:
            return self._execute(program, layer, limits.memory_bytes // PAGE_BYTES)
        finally:
            layer.memory = memoryview(bytearray())
            self._layer = self._memory = None

    def _execute(self, program: Program, layer: Wasi, pages: int) -> Ending:
        facts = program.facts
        trap, error = None, None
        instantiated = False
        exports = None
        try:
            exports = wasmer.Instance(program.module, self._imports).exports
            self._memory = exports.memory
            getattr(exports, facts.limit).value = pages
            if facts.start is not None:
                getattr(exports, facts.start)()
            instantiated = True
            exports._start()
        except Stop:
            pass
        except RuntimeError as failure:
            if self._broken is not None:
                raise self._broken from None
            error = _first_line(failure)
            trap = _TRAPS.get(error)
        refused = 0 if exports is None else getattr(exports, facts.refused).value
        if refused == BY_MACHINE:
            starve()
        if error is not None and trap is None and layer.stop is None:
            raise GaveUp(error)
        if exports is None:
            return Ending(instantiated=False, trap=trap)
        return Ending(
            instantiated=instantiated,
            trap=trap,
            refused_memory=refused == BY_LIMIT,
            peak_memory_bytes=self._memory.data_size,
        )

    def _define(self, name: str, parameters: str) -> Any:
        function: Callable[..., int] = getattr(Wasi, name)
        masks = tuple(_MASKS[kind] for kind in parameters)

        def host_function(*given: int) -> int | None:
            layer = self._layer
            assert layer is not None
            try:
                size = self._memory.data_size
                if size != self._size:
                    layer.memory = memoryview(self._memory.buffer) if size else memoryview(bytearray())
                    self._size = size
                return wasi.call(layer, function, [value & mask for value, mask in zip(given, masks, strict=True)])
            except Stop:
                raise
            except BaseException as failure:
                self._broken = failure
                raise

        kinds = [wasmer.Type.I32 if kind == "i" else wasmer.Type.I64 for kind in parameters]
        gives = [] if name == "proc_exit" else [wasmer.Type.I32]
        return wasmer.Function(self._store, host_function, wasmer.FunctionType(kinds, gives))


def _store() -> Any:
    return wasmer.Store(wasmer.engine.Universal(Compiler))


def _first_line(error: BaseException) -> str:
    line = (str(error).splitlines() or [""])[0].strip()
    return line[len("RuntimeError: ") :] if line.startswith("RuntimeError: ") else line


def machine() -> Machine:
    """Makes the engine ready."""
    return Machine()


def system_calls() -> tuple[str, ...]:
    """None beside the cell's own."""
    return ()


if TYPE_CHECKING:
    from . import engine as _self

    _: Engine = _self
