"""Runs loaded modules, one job at a time, through the engine's C functions: its wrapped host calls cost ten times more.

The verdict stands on the run and never in the bindings' process-wide ``LAST_EXCEPTION``.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from . import hardening, wasi
from .clocks import RealClock, RealRandom, SeededRandom, VirtualClock
from .compiling import configure
from .memory import Memories, Region
from .settings import TABLE_ELEMENTS, TABLES

_NO_FUEL_LIMIT = (1 << 63) - 1
_VALUE_BYTES = ctypes.sizeof(ffi.wasmtime_val_raw_t)
_HOST_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_NO_FINALIZER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(0)
_WRITABLE = 0x200

_TRAPS = {
    "STACK_OVERFLOW": "the call stack is exhausted",
    "MEMORY_OUT_OF_BOUNDS": "memory access out of bounds",
    "HEAP_MISALIGNED": "misaligned memory access",
    "TABLE_OUT_OF_BOUNDS": "table access out of bounds",
    "INDIRECT_CALL_TO_NULL": "indirect call to null",
    "BAD_SIGNATURE": "indirect call with another signature",
    "INTEGER_OVERFLOW": "integer overflow",
    "INTEGER_DIVISION_BY_ZERO": "integer division by zero",
    "BAD_CONVERSION_TO_INTEGER": "invalid conversion to integer",
    "UNREACHABLE": "unreachable code was reached",
    "NULL_REFERENCE": "null reference",
    "ALLOCATION_TOO_LARGE": "an allocation was too large",
    "UNCAUGHT_EXCEPTION": "an exception was not caught",
}
_WANT_OF_MEMORY = ("UNREACHABLE", "MEMORY_OUT_OF_BOUNDS", "ALLOCATION_TOO_LARGE")
"""How programs end that do not cope with a refused growth: by abort, or through the null pointer."""


class HostCallsSpent(wasi.Stop):
    """The run made as many host calls as it may."""


class Program:
    """A loaded module, its imports resolved; `starts` says whether instantiating it runs code of its own."""

    def __init__(self, instance_pre: wasmtime.InstancePre, starts: bool) -> None:
        self.instance_pre = instance_pre
        self.starts = starts


class Run:
    """The state of the run that is going on."""

    def __init__(self, layer: wasi.Wasi, context: Any, calls_left: int) -> None:
        self.wasi = layer
        self.context = context
        self.calls_left = calls_left
        self.region: Region | None = None
        self.seen = -1
        self.stop: wasi.Stop | None = None
        self.broken: BaseException | None = None


class Machine:
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
        self._data_size = hardening.DataSize()

    def load(self, artifact: int, starts: bool) -> Program:
        """The module that a compile cell wrote to the descriptor. Raises :exc:`wasmtime.WasmtimeError`."""
        module = wasmtime.Module.deserialize_file(self._engine, f"/proc/self/fd/{artifact}")
        return Program(self._linker.instantiate_pre(module), starts)

    def run(self, program: Program, job: dict[str, Any], stdin: bytes) -> tuple[dict[str, Any], bytearray, bytearray]:
        """One run: what the node needs for an outcome, stdout, stderr."""
        cpu, wall = time.process_time(), time.perf_counter()
        seed, real = bytes.fromhex(job["seed"]), frozenset(job["capabilities"])
        layer = wasi.Wasi(
            args=[b"module.wasm", *map(_encoded, job["args"])],
            env=[_encoded(f"{name}={value}") for name, value in job["env"].items()],
            stdin=stdin,
            output_bytes=job["output_bytes"],
            clock=RealClock() if "clock" in real else VirtualClock(seed),
            random=RealRandom() if "random" in real else SeededRandom(seed),
        )
        self.memories.begin(job["memory_bytes"])
        hardening.limit_memory(
            self._data_size() + job["memory_bytes"] + 2 * job["output_bytes"] + hardening.MARGIN_BYTES
        )
        hardening.limit_cpu(job["wall_seconds"])
        fuel = _NO_FUEL_LIMIT if job["fuel"] is None else min(job["fuel"], _NO_FUEL_LIMIT)
        store = ffi.wasmtime_store_new(self._engine.ptr(), None, _NO_FINALIZER)
        try:
            context = ffi.wasmtime_store_context(store)
            self._run = run = Run(layer, context, job["host_calls"])
            ffi.wasmtime_store_limiter(store, -1, TABLE_ELEMENTS, -1, TABLES, -1)
            ending = self._execute(program, context, fuel)
            fuel_left = ctypes.c_uint64(0)
            ffi.wasmtime_context_get_fuel(context, ctypes.byref(fuel_left))
        finally:
            layer.memory = memoryview(b"")
            self._run = None
            ffi.wasmtime_store_delete(store)
        if run.broken is not None:
            raise run.broken
        reply = self._verdict(run.stop, *ending)
        reply["fuel"] = fuel - fuel_left.value
        reply["peak_memory_bytes"] = self.memories.peak
        reply["stdout_bytes"] = len(layer.stdout)
        reply["cpu_seconds"] = time.process_time() - cpu
        reply["wall_seconds"] = time.perf_counter() - wall
        return reply, layer.stdout, layer.stderr

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

    def _verdict(self, stop: wasi.Stop | None, ran: bool, trap: str | None, error: str | None) -> dict[str, Any]:
        match stop:
            case wasi.Exit(code=code):
                return {"verdict": "exited", "exit_code": code}
            case wasi.OutputFull():
                return {"verdict": "output_limit", "detail": "it wrote more than its output limit"}
            case HostCallsSpent():
                return {"verdict": "host_call_limit", "detail": "it made more host calls than its limit"}
        if trap == "OUT_OF_FUEL":
            return {"verdict": "out_of_fuel", "detail": "it used all of its fuel"}
        if self.memories.refused and (trap in _WANT_OF_MEMORY or not ran):
            return {"verdict": "out_of_memory", "detail": "it needed more memory than its limit"}
        if trap is not None:
            return {"verdict": "trapped", "detail": _TRAPS.get(trap, trap.lower().replace("_", " "))}
        if error is not None and not ran:
            return {"verdict": "out_of_memory", "detail": f"it could not be started: {error}"}
        if error is not None:
            return {"verdict": "trapped", "detail": error}
        return {"verdict": "exited", "exit_code": 0}

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
                run.calls_left -= 1
                if run.calls_left < 0:
                    raise HostCallsSpent
                region = run.region or self._find(run, caller)
                if region.size != run.seen:
                    run.wasi.memory = (
                        self._view(region.base, region.size, _WRITABLE) if region.size else memoryview(b"")
                    )
                    run.seen = region.size
                error = wasi.call(run.wasi, function, layout.unpack(ctypes.string_at(values, layout.size)))
                ctypes.c_uint64.from_address(values).value = error
            except wasi.Stop as stop:
                run.stop = stop
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


def _encoded(text: str) -> bytes:
    """UTF-8; bytes that a command line smuggled in as surrogates come out as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _taken(error: Any, trap: Any) -> tuple[str | None, str | None]:
    """The name of the trap and the first line of the error; both are freed."""
    name = None
    if trap:
        taken = wasmtime.Trap._from_ptr(trap)
        code = taken.trap_code
        name = code.name if code is not None else "STOPPED"
        taken.close()
    text = None
    if error:
        text = (str(wasmtime.WasmtimeError._from_ptr(error)).splitlines() or ["error"])[0]
    return name, text
