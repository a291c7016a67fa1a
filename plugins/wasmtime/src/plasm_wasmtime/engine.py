"""The engine inside a cell: :class:`plasm_cell.engine.Engine` by wasmtime.

Guests are run through the engine's C functions, since its wrapped host calls cost ten times more, and the ending stands
on the run and never in the bindings' process-wide ``LAST_EXCEPTION``.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

import wasmtime
from plasm_cell import wasi
from plasm_cell.engine import TRAPS, Compiled, Ending, Limits, Refused
from plasm_cell.modules import check
from wasmtime import _ffi as ffi

from .memory import Memories, Region
from .settings import ENGINE_SETTINGS, TABLE_ELEMENTS, TABLES

_NO_FUEL_LIMIT = (1 << 63) - 1
_VALUE_BYTES = ctypes.sizeof(ffi.wasmtime_val_raw_t)
_HOST_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_NO_FINALIZER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(0)
_WRITABLE = 0x200
_OUT_OF_FUEL = "out_of_fuel"


def configure() -> wasmtime.Config:
    """The engine's configuration as :data:`.settings.ENGINE_SETTINGS` states it."""
    config = wasmtime.Config()
    for name, value in ENGINE_SETTINGS.items():
        setattr(config, name, value)
    return config


def compile_module(module: bytes) -> Compiled:
    """See :meth:`plasm_cell.engine.Engine.compile_module`."""
    checked = check(module)
    try:
        compiled = wasmtime.Module(wasmtime.Engine(configure()), module)
    except wasmtime.WasmtimeError as error:
        raise Refused(f"not a valid WebAssembly module: {_reason(error)}") from None
    return Compiled(bytes(compiled.serialize()), checked.starts)


def system_calls() -> tuple[str, ...]:
    """See :meth:`plasm_cell.engine.Engine.system_calls`."""
    return ("membarrier",)


def machine() -> WasmtimeMachine:
    """See :meth:`plasm_cell.engine.Engine.machine`."""
    return WasmtimeMachine()


class Program:
    """A loaded module, its imports resolved; `starts` says whether instantiating it runs code of its own."""

    def __init__(self, instance_pre: wasmtime.InstancePre, starts: bool) -> None:
        self.instance_pre = instance_pre
        self.starts = starts


class Run:
    """The state of the run that is going on."""

    def __init__(self, layer: wasi.Wasi, context: Any) -> None:
        self.wasi = layer
        self.context = context
        self.region: Region | None = None
        self.seen = -1
        self.broken: BaseException | None = None


class WasmtimeMachine:
    """The engine of this process with the WASI functions defined, ready to load and run."""

    def __init__(self) -> None:
        self.memories = Memories()
        config = configure()
        self.memories.install(config)
        self._engine = wasmtime.Engine(config)
        self._linker = wasmtime.Linker(self._engine)
        self._run: Run | None = None
        self._view = ctypes.pythonapi.PyMemoryView_FromMemory
        self._view.restype = ctypes.py_object
        self._view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
        self._new_trap = ffi.dll["wasmtime_trap_new"]
        self._new_trap.restype = ctypes.c_void_p
        self._new_trap.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
        self._callbacks = [self._define(name, parameters) for name, parameters in wasi.FUNCTIONS.items()]

    def load(self, artifact: memoryview, starts: bool) -> Program:
        """Make a compiled module ready. Raises :exc:`wasmtime.WasmtimeError`."""
        pointer = ctypes.POINTER(ffi.wasmtime_module_t)()
        with _Buffer(artifact) as address:
            error = ffi.wasmtime_module_deserialize(
                self._engine.ptr(),
                ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)),
                artifact.nbytes,
                ctypes.byref(pointer),
            )
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        return Program(self._linker.instantiate_pre(wasmtime.Module._from_ptr(pointer)), starts)

    def run(self, program: Program, layer: wasi.Wasi, limits: Limits) -> Ending:
        """See :meth:`plasm_cell.engine.Machine.run`."""
        self.memories.begin(limits.memory_bytes)
        fuel = _NO_FUEL_LIMIT if limits.fuel is None else min(limits.fuel, _NO_FUEL_LIMIT)
        store = ffi.wasmtime_store_new(self._engine.ptr(), None, _NO_FINALIZER)
        try:
            context = ffi.wasmtime_store_context(store)
            self._run = run = Run(layer, context)
            ffi.wasmtime_store_limiter(store, -1, TABLE_ELEMENTS, -1, TABLES, -1)
            instantiated, trap, error = self._execute(program, context, fuel)
            fuel_left = ctypes.c_uint64(0)
            ffi.wasmtime_context_get_fuel(context, ctypes.byref(fuel_left))
        finally:
            layer.memory = memoryview(b"")
            self._run = None
            ffi.wasmtime_store_delete(store)
        if run.broken is not None:
            raise run.broken
        return Ending(
            instantiated=instantiated,
            trap=trap if trap is None or trap in TRAPS else "other",
            error=error,
            out_of_fuel=trap == _OUT_OF_FUEL,
            refused_memory=self.memories.refused,
            fuel=fuel - fuel_left.value,
            peak_memory_bytes=self.memories.peak,
        )

    def _execute(self, program: Program, context: Any, fuel: int) -> tuple[bool, str | None, str | None]:
        """Whether it was instantiated, the trap's name, the engine's error."""
        # Instantiating costs fuel that differs between machines; it counts only where code of the module runs in it.
        ffi.wasmtime_context_set_fuel(context, fuel if program.starts else _NO_FUEL_LIMIT)
        instance = ffi.wasmtime_instance_t()
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        error = ffi.wasmtime_instance_pre_instantiate(
            program.instance_pre.ptr(), context, ctypes.byref(instance), ctypes.byref(trap)
        )
        if error or trap:
            return False, *_taken(error, trap)
        if not program.starts:
            ffi.wasmtime_context_set_fuel(context, fuel)
        item = ffi.wasmtime_extern_t()
        ffi.wasmtime_instance_export_get(context, ctypes.byref(instance), b"_start", 6, ctypes.byref(item))
        slot = ffi.wasmtime_val_raw_t()
        error = ffi.wasmtime_func_call_unchecked(
            context, ctypes.byref(item.of.func), ctypes.byref(slot), 1, ctypes.byref(trap)
        )
        return True, *_taken(error, trap)

    # --- host functions -----------------------------------------------------------------------------------------------

    def _define(self, name: str, parameters: str) -> Any:
        function: Callable[..., int] = getattr(wasi.Wasi, name)
        layout = struct.Struct("<" + "".join("I12x" if kind == "i" else "Q8x" for kind in parameters))
        if layout.size != _VALUE_BYTES * len(parameters):
            raise OSError("this release of wasmtime passes values in another way")

        def callback(_env: int, caller: int, values: int, _count: int) -> int:
            run = self._run
            assert run is not None
            try:
                region = run.region or self._find(run, caller)
                if region.size != run.seen:
                    run.wasi.memory = (
                        self._view(region.base, region.size, _WRITABLE) if region.size else memoryview(b"")
                    )
                    run.seen = region.size
                error = wasi.call(run.wasi, function, layout.unpack(ctypes.string_at(values, layout.size)))
                ctypes.c_uint64.from_address(values).value = error
            except wasi.Stop:
                pass
            except BaseException as failure:
                # An exception that left a callback would be printed and forgotten, and the guest would go on.
                run.broken = failure
            else:
                return 0
            trap: int = self._new_trap(b"stopped", 7)
            return trap

        kind = wasmtime.FuncType(
            [wasmtime.ValType.i32() if kind == "i" else wasmtime.ValType.i64() for kind in parameters],
            [] if name == "proc_exit" else [wasmtime.ValType.i32()],
        )
        raw = _HOST_FUNCTION(callback)
        module = wasi.MODULE.encode()
        error = ffi.wasmtime_linker_define_func_unchecked(
            self._linker.ptr(),
            module,
            len(module),
            name.encode(),
            len(name),
            kind.ptr(),
            ctypes.cast(raw, ffi.wasmtime_func_unchecked_callback_t),
            None,
            _NO_FINALIZER,
        )
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        return raw

    def _find(self, run: Run, caller: int) -> Region:
        item = ffi.wasmtime_extern_t()
        pointer = ctypes.cast(caller, ctypes.POINTER(ffi.wasmtime_caller_t))
        if not ffi.wasmtime_caller_export_get(pointer, b"memory", 6, ctypes.byref(item)):
            raise OSError("the module has no memory")
        base = ctypes.cast(ffi.wasmtime_memory_data(run.context, ctypes.byref(item.of.memory)), ctypes.c_void_p).value
        run.region = self.memories.regions[base or 0]
        return run.region


class _Buffer:
    """The address of a read-only buffer's first byte (``Py_buffer``, which :mod:`ctypes` wants to be writable)."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        # The structure is smaller than this on every machine; its first field is the address.
        self._raw = (ctypes.c_void_p * 32)()

    def __enter__(self) -> int:
        get = ctypes.pythonapi.PyObject_GetBuffer
        get.argtypes = (ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
        get(self._content, self._raw, 0)
        return int(self._raw[0] or 0)

    def __exit__(self, *_: object) -> None:
        release = ctypes.pythonapi.PyBuffer_Release
        release.argtypes = (ctypes.c_void_p,)
        release.restype = None
        release(self._raw)


def _reason(error: wasmtime.WasmtimeError) -> str:
    """The causes of an engine's error in one line, the innermost last."""
    lines = [line.strip() for line in str(error).splitlines()]
    causes = [line.partition(": ")[2] if line[:1].isdigit() else line for line in lines if line]
    return ": ".join(cause for cause in causes if cause not in ("", "Caused by:"))


def _taken(error: Any, trap: Any) -> tuple[str | None, str | None]:
    """The name of the trap and the first line of the error; both are freed."""
    name = None
    if trap:
        taken = wasmtime.Trap._from_ptr(trap)
        code = taken.trap_code
        if code is not None:
            name = code.name.lower()
        else:
            name = "uncaught_exception" if "thrown Wasm exception" in str(taken) else "stopped"
        taken.close()
    text = None
    if error:
        text = (str(wasmtime.WasmtimeError._from_ptr(error)).splitlines() or ["error"])[0]
    return name, text
