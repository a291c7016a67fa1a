"""The engine wasm3 inside a cell: an interpreter, called through its C functions."""

from __future__ import annotations

import ctypes
import resource
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from plasm_cell import modules, wasi
from plasm_cell.binary import PAGE_BYTES
from plasm_cell.engine import Compiled, Ending, GaveUp, Limits, Refused, starve
from plasm_cell.instrument import BY_LIMIT, BY_MACHINE, TABLE_ELEMENTS, Instrumented
from plasm_cell.wasi import Stop, Wasi

from . import library
from .binary import Invalid
from .library import HOST_FUNCTION, I32, I64, POINTER, Tagged
from .lowering import Lowered
from .prepare import prepare, without_data
from .validation import TABLE_ELEMENTS as LONGEST_TABLE

if TYPE_CHECKING:
    from plasm_cell.engine import Engine

STACK_BYTES: Final = 1 << 20
"""For the values of all calls that are going on."""
_NATIVE_STACK_BYTES: Final = 120 << 20
"""A call takes some 200 bytes of the native stack beside 16 of the other. Linux leaves 128 MiB free for it."""
_LIBRARY: Final = library.load()
"""Loaded while files can still be opened: a cell that compiles has no machine."""
_NOTHING: Final = HOST_FUNCTION(lambda _runtime, _context, _values, _memory: None)
"""Made here: for its first callback ctypes makes a file in memory, which no cell can."""
_WRITABLE: Final = 0x200
_NOT_SEEN: Final = (-1, -1)

_TRAPS: Final = {
    b"[trap] out of bounds memory access": "memory_out_of_bounds",
    b"[trap] integer divide by zero": "integer_division_by_zero",
    b"[trap] integer overflow": "integer_overflow",
    b"[trap] invalid conversion to integer": "bad_conversion_to_integer",
    b"[trap] indirect call type mismatch": "bad_signature",
    b"[trap] undefined element": "table_out_of_bounds",
    b"[trap] null table element": "indirect_call_to_null",
    b"[trap] unreachable executed": "unreachable",
    b"[trap] stack overflow": "stack_overflow",
}
_DATA_OUT_OF_BOUNDS: Final = (b"data segment out of bounds", b"data segment underflow")
_NO_MEMORY: Final = "memory allocation failed"
_NOT_IMPORTED: Final = b"function lookup failed"
_STOPPED: Final = ctypes.create_string_buffer(b"stopped")


class Failed(Exception):
    """wasm3 says no to what was checked before."""


def compile_module(module: bytes) -> Compiled:
    """Check, rewrite and try it; the artifact is a module in wasm3's reach. Raises :exc:`Refused`."""
    parsed = modules.check(module)
    try:
        facts = Lowered(module)
        if LONGEST_TABLE < facts.table_elements <= TABLE_ELEMENTS:
            raise Invalid(f"its table has more than {LONGEST_TABLE} elements")
        made = prepare(module, facts)
    except Invalid as reason:
        raise Refused(f"wasm3 does not run it: {reason}") from None
    content = without_data(made.module)
    guest = Guest(_LIBRARY, content)
    try:
        guest.compile(dict.fromkeys(wasi.FUNCTIONS, _NOTHING))
    except Failed as reason:
        kind = GaveUp if str(reason).startswith(_NO_MEMORY) else Refused
        raise kind(f"wasm3 does not run it: {reason}") from None
    finally:
        guest.free()
    return Compiled(made.encoded(), parsed.starts)


class Guest:
    """One module in a runtime of its own."""

    def __init__(self, lib: Any, content: bytes) -> None:
        """Raises :exc:`Failed`."""
        self.lib = lib
        self.content = content
        self.environment = lib.m3_NewEnvironment()
        self.runtime = lib.m3_NewRuntime(self.environment, STACK_BYTES, None)
        self.module = POINTER()
        self.loaded = False
        self.parsed = lib.m3_ParseModule(self.environment, ctypes.byref(self.module), content, len(content))

    def load(self) -> bytes | None:
        """Make its memory and its table; what is wrong, if anything is."""
        if self.parsed:
            return bytes(self.parsed)
        result: bytes | None = self.lib.m3_LoadModule(self.runtime, self.module)
        self.loaded = result is None
        return result

    def link(self, functions: Mapping[str, Any]) -> None:
        """Resolve the imports of a loaded module."""
        module = wasi.MODULE.encode()
        for name, parameters in wasi.FUNCTIONS.items():
            signature = f"{'v' if name == 'proc_exit' else 'i'}({parameters})".encode()
            result = self.lib.m3_LinkRawFunction(self.module, module, name.encode(), signature, functions[name])
            if result not in (None, _NOT_IMPORTED):
                raise Failed(result.decode())

    def compile(self, functions: Mapping[str, Any]) -> None:
        """Compile all of it."""
        result = self.load()
        if not result:
            self.link(functions)
            result = self.lib.m3_CompileModule(self.module)
        if result:
            raise Failed(result.decode())

    def call(self, name: str) -> bytes | None:
        """Call an exported function without parameters; the reason for which it ended early, if it did."""
        function = POINTER()
        result = self.lib.m3_FindFunction(ctypes.byref(function), self.runtime, name.encode())
        result = result or self.lib.m3_Call(function, 0, None)
        return None if result is None else bytes(result)

    def set_global(self, name: str, value: int) -> None:
        found = self.lib.m3_FindGlobal(self.module, name.encode())
        if not found or self.lib.m3_SetGlobal(found, ctypes.byref(Tagged(I64, value))):
            raise Failed("a global is not there")

    def global_of(self, name: str) -> int:
        """What an i32 holds."""
        value = Tagged(I32, 0)
        found = self.lib.m3_FindGlobal(self.module, name.encode())
        if not found or self.lib.m3_GetGlobal(found, ctypes.byref(value)):
            raise Failed("a global is not there")
        return int(value.value & 0xFFFFFFFF)

    def memory(self) -> tuple[int, int]:
        """Address and size."""
        size = ctypes.c_uint32(0)
        address = self.lib.m3_GetMemory(self.runtime, ctypes.byref(size), 0)
        return address or 0, size.value

    def free(self) -> None:
        if self.module and not self.loaded:
            self.lib.m3_FreeModule(self.module)
        self.lib.m3_FreeRuntime(self.runtime)
        self.lib.m3_FreeEnvironment(self.environment)


class Machine:
    """wasm3 and the host functions; see :class:`plasm_cell.engine.Machine`."""

    def __init__(self) -> None:
        with suppress(OSError, ValueError):
            _, hard = resource.getrlimit(resource.RLIMIT_STACK)
            most = _NATIVE_STACK_BYTES if hard == resource.RLIM_INFINITY else min(hard, _NATIVE_STACK_BYTES)
            resource.setrlimit(resource.RLIMIT_STACK, (most, hard))
        self._view = ctypes.pythonapi.PyMemoryView_FromMemory
        self._view.restype = ctypes.py_object
        self._view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
        self._layer: Wasi | None = None
        self._guest: Guest | None = None
        self._seen = _NOT_SEEN
        self._broken: BaseException | None = None
        self._functions = {name: self._define(name, parameters) for name, parameters in wasi.FUNCTIONS.items()}

    def load(self, artifact: memoryview, starts: bool) -> Instrumented:
        """The module as it was prepared. Raises :exc:`ValueError`."""
        return Instrumented.decoded(bytes(artifact))

    def run(self, program: Instrumented, layer: Wasi, limits: Limits) -> Ending:
        """See :meth:`plasm_cell.engine.Machine.run`."""
        if limits.fuel is not None:
            raise Failed("wasm3 does not count fuel")
        if (ending := program.too_large(limits)) is not None:
            return ending
        self._layer, self._broken, self._seen = layer, None, _NOT_SEEN
        self._guest = guest = Guest(_LIBRARY, program.module)
        try:
            return self._execute(guest, program, layer, limits.memory_bytes // PAGE_BYTES)
        finally:
            layer.memory = memoryview(bytearray())
            self._layer = self._guest = None
            guest.free()

    def _execute(self, guest: Guest, program: Instrumented, layer: Wasi, pages: int) -> Ending:
        if program.trap is not None:
            return Ending(instantiated=False, trap=program.trap)
        refusal = guest.load()
        if refusal in _DATA_OUT_OF_BOUNDS:
            return Ending(instantiated=False, trap="memory_out_of_bounds")
        if refusal is not None:
            # It is within its limits and was loaded when it was compiled: what is missing is memory.
            starve()
        guest.link(self._functions)
        guest.set_global(program.limit, pages)
        result = None if program.start is None else guest.call(program.start)
        instantiated = result is None
        if instantiated:
            result = guest.call("_start")
        if self._broken is not None:
            raise self._broken
        refused = guest.global_of(program.refused)
        if refused == BY_MACHINE:
            starve()
        trap = None if result is None else _TRAPS.get(result)
        if result is not None and trap is None and layer.stop is None:
            raise GaveUp(result.decode(errors="replace"))
        return Ending(
            instantiated=instantiated,
            trap=trap,
            refused_memory=refused == BY_LIMIT,
            peak_memory_bytes=guest.memory()[1],
        )

    def _define(self, name: str, parameters: str) -> Any:
        function: Callable[..., int] = getattr(Wasi, name)
        gives = name != "proc_exit"
        layout = struct.Struct("<" + "".join("I4x" if kind == "i" else "Q" for kind in parameters))

        def host_function(_runtime: int, _context: int, values: int, _memory: int) -> int | None:
            layer, guest = self._layer, self._guest
            assert layer is not None
            assert guest is not None
            try:
                memory = guest.memory()
                if memory != self._seen:
                    layer.memory = self._view(*memory, _WRITABLE) if memory[1] else memoryview(bytearray())
                    self._seen = memory
                given = layout.unpack(ctypes.string_at(values + 8 * gives, layout.size))
                error = wasi.call(layer, function, given)
                if gives:
                    ctypes.c_uint64.from_address(values).value = error
            except Stop:
                return ctypes.addressof(_STOPPED)
            except BaseException as failure:
                # An exception that left a callback would be printed and forgotten, and the guest would go on.
                self._broken = failure
                return ctypes.addressof(_STOPPED)
            return None

        return HOST_FUNCTION(host_function)


def machine() -> Machine:
    """Makes the engine ready."""
    return Machine()


def system_calls() -> tuple[str, ...]:
    """None beside the cell's own."""
    return ()


if TYPE_CHECKING:
    from . import engine as _self

    _: Engine = _self
