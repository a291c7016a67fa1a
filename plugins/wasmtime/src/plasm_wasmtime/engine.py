"""The engine inside a cell: :class:`plasm_cell.engine.Engine` by wasmtime.

Guests are run through the engine's C functions, since its wrapped host calls cost ten times more, and the ending stands
on the run and never in the bindings' process-wide ``LAST_EXCEPTION``.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping
from typing import Any

from plasm_cell import wasi
from plasm_cell.engine import TRAPS, Compiled, Ending, GaveUp, Limits

from . import library
from .library import FINALIZER, HOST_FUNCTION, ITEM_CONTENT, POINTER, RawValue
from .memory import Memories, Region
from .settings import BY_COUNTER, BY_ENGINE, COUNTER, COUNTING, TABLE_ELEMENTS, TABLES, Settings

_NO_FUEL_LIMIT = (1 << 63) - 1
_MOST_FUEL = (1 << 53) - 1
"""What a receipt may hold. More is told as this much."""
_VALUE_BYTES = ctypes.sizeof(RawValue)
_NO_FINALIZER = FINALIZER(0)
_WRITABLE = 0x200
_COUNTER = COUNTER.encode()
_OUT_OF_FUEL = "out_of_fuel"
_STOPPED = "stopped"
_UNCAUGHT = "uncaught_exception"
_TABLE_LIMITS = ("exceeds table limits", "table count too high")
"""In what the engine says of a module with larger or more tables than :mod:`.settings` allows."""
_VALUE_KINDS = {"i": 0, "I": 1}

_Buffer = POINTER * 32
"""A ``Py_buffer``, by which read-only bytes have an address; smaller than this, and its first field is the address."""
_get_buffer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, POINTER, ctypes.c_int)(
    ("PyObject_GetBuffer", ctypes.pythonapi)
)
_release_buffer = ctypes.PYFUNCTYPE(None, POINTER)(("PyBuffer_Release", ctypes.pythonapi))
_view = ctypes.PYFUNCTYPE(ctypes.py_object, POINTER, ctypes.c_ssize_t, ctypes.c_int)(
    ("PyMemoryView_FromMemory", ctypes.pythonapi)
)


def compile_module(module: bytes) -> Compiled:
    """See :meth:`plasm_cell.engine.Engine.compile_module`."""
    # The compiler is imported where it is used: what a warm parent has, each of its cells pays for.
    from .compiling import compile_counting

    return compile_counting(module)


def compile_limiting(module: bytes) -> Compiled:
    """See :meth:`plasm_cell.engine.LimitingEngine.compile_limiting`."""
    from .compiling import compile_limiting

    return compile_limiting(module)


def system_calls() -> tuple[str, ...]:
    """See :meth:`plasm_cell.engine.Engine.system_calls`."""
    return ("membarrier",)


def machine() -> WasmtimeMachine:
    """See :meth:`plasm_cell.engine.Engine.machine`."""
    return WasmtimeMachine(COUNTING)


def _was_thrown(message: str) -> bool:
    """Whether an exception of the guest's is the cause, which stands last: names before it are the guest's own."""
    return message.rstrip("\0\n").endswith("\n    thrown Wasm exception")


class EngineError(Exception):
    """What the engine says is wrong, in its own words."""


class Engine:
    """The engine and the linker for one way of counting fuel."""

    def __init__(self, lib: Any, engine: int) -> None:
        self.engine = engine
        self.linker: int = lib.wasmtime_linker_new(engine)


class Program:
    """A loaded module, its imports resolved; `starts` says whether instantiating it runs code of its own."""

    def __init__(self, lib: Any, instance_pre: int, starts: bool, engine: int, counted: bytes) -> None:
        self._delete = lib.wasmtime_instance_pre_delete
        self.instance_pre = instance_pre
        self.starts = starts
        self.engine = engine
        self.counted = counted

    def __del__(self) -> None:
        self._delete(self.instance_pre)


class Run:
    """The state of the run that is going on."""

    def __init__(self, layer: wasi.Wasi, context: int) -> None:
        self.wasi = layer
        self.context = context
        self.region: Region | None = None
        self.seen = -1
        self.broken: BaseException | None = None


class WasmtimeMachine:
    """The engines of this process with the WASI functions defined, ready to load and run."""

    def __init__(self, engines: Mapping[bytes, Settings]) -> None:
        self._lib = lib = library.load(next(iter(engines.values())))
        self.memories = Memories(lib)
        self._engines = {how: Engine(lib, self._made_engine(settings)) for how, settings in engines.items()}
        self._run: Run | None = None
        self._callbacks = [self._define(name, parameters) for name, parameters in wasi.FUNCTIONS.items()]
        # Made once: in a cell each new object may cost a page. A run at a time uses them.
        self._buffer = _Buffer()
        self._instance = library.Instance()
        self._instance_reference = ctypes.byref(self._instance)
        self._item = library.Item()
        self._item_reference = ctypes.byref(self._item)
        self._item_content = ctypes.addressof(self._item) + ITEM_CONTENT
        self._values = RawValue()
        self._values_reference = ctypes.byref(self._values)
        self._trap = POINTER()
        self._trap_reference = ctypes.byref(self._trap)
        self._made = POINTER()
        self._made_reference = ctypes.byref(self._made)
        self._global = library.Value()
        self._global_reference = ctypes.byref(self._global)
        self._fuel = ctypes.c_uint64()
        self._fuel_reference = ctypes.byref(self._fuel)

    def _made_engine(self, settings: Settings) -> int:
        lib = self._lib
        config = lib.wasm_config_new()
        for name, value in settings.items():
            getattr(lib, library.setter(name))(config, value)
        lib.wasmtime_config_host_memory_creator_set(config, self.memories.creator)
        engine: int = lib.wasm_engine_new_with_config(config)
        return engine

    def load(self, artifact: memoryview, starts: bool) -> Program:
        """Make a compiled module ready. Raises :exc:`EngineError`."""
        lib, made = self._lib, self._made
        counted = bytes(artifact[-1:])
        engine = self._engines.get(counted)
        if engine is None:
            raise EngineError("the compiled module is for another way of counting fuel")
        _get_buffer(artifact, self._buffer, 0)
        try:
            error = lib.wasmtime_module_deserialize(
                engine.engine, self._buffer[0], artifact.nbytes - 1, self._made_reference
            )
        finally:
            _release_buffer(self._buffer)
        if error:
            raise EngineError(self._message_of(error))
        module = made.value
        error = lib.wasmtime_linker_instantiate_pre(engine.linker, module, self._made_reference)
        lib.wasmtime_module_delete(module)
        if error:
            raise EngineError(self._message_of(error))
        assert made.value is not None
        return Program(lib, made.value, starts, engine.engine, counted)

    def run(self, program: Program, layer: wasi.Wasi, limits: Limits) -> Ending:
        """See :meth:`plasm_cell.engine.Machine.run`."""
        lib = self._lib
        if limits.fuel is not None and program.counted != BY_ENGINE:
            raise EngineError("this program's fuel cannot be limited")
        self.memories.begin(limits.memory_bytes)
        fuel = _NO_FUEL_LIMIT if limits.fuel is None else min(limits.fuel, _NO_FUEL_LIMIT)
        store = lib.wasmtime_store_new(program.engine, None, _NO_FINALIZER)
        try:
            context = lib.wasmtime_store_context(store)
            self._run = run = Run(layer, context)
            lib.wasmtime_store_limiter(store, -1, TABLE_ELEMENTS, -1, TABLES, -1)
            instantiated, trap, error = self._execute(program, context, fuel)
            used = self._used(program, context, fuel, instantiated=instantiated)
        finally:
            layer.memory = memoryview(bytearray())
            self._run = None
            if not limits.last:
                lib.wasmtime_store_delete(store)
        if run.broken is not None:
            raise run.broken
        if trap == _STOPPED and layer.stop is None:
            raise GaveUp("it stopped the program for a reason of its own")
        limited = self.memories.refused or any(limit in (error or "") for limit in _TABLE_LIMITS)
        if not instantiated and trap is None and not limited and layer.stop is None:
            raise GaveUp(error or "it did not start the program")
        return Ending(
            instantiated=instantiated,
            trap=trap if trap is None or trap in TRAPS else "other",
            error=error,
            out_of_fuel=trap == _OUT_OF_FUEL,
            refused_memory=self.memories.refused,
            fuel=used,
            peak_memory_bytes=self.memories.peak,
        )

    def _used(self, program: Program, context: int, fuel: int, *, instantiated: bool) -> int | None:
        """What the run has burned of `fuel`; ``None`` where that is not counted."""
        lib = self._lib
        if program.counted == BY_ENGINE:
            if not instantiated and not program.starts:
                # It trapped before any of its code ran, and the fuel for that was not set yet.
                return 0
            lib.wasmtime_context_get_fuel(context, self._fuel_reference)
            return min(fuel - self._fuel.value, _MOST_FUEL)
        if program.counted != BY_COUNTER:
            return None
        if not instantiated:
            return 0
        lib.wasmtime_instance_export_get(
            context, self._instance_reference, _COUNTER, len(_COUNTER), self._item_reference
        )
        lib.wasmtime_global_get(context, self._item_content, self._global_reference)
        return min(int(self._global.of[0]), _MOST_FUEL)

    def _execute(self, program: Program, context: int, fuel: int) -> tuple[bool, str | None, str | None]:
        """Whether it was instantiated, the trap's name, the engine's error."""
        lib, trap = self._lib, self._trap
        trap.value = None
        by_engine = program.counted == BY_ENGINE
        if by_engine:
            # Instantiating costs fuel that differs between machines; it counts only where code of the module runs then.
            lib.wasmtime_context_set_fuel(context, fuel if program.starts else _NO_FUEL_LIMIT)
        instance, trap_reference = self._instance_reference, self._trap_reference
        error = lib.wasmtime_instance_pre_instantiate(program.instance_pre, context, instance, trap_reference)
        if error or trap:
            return False, *self._taken(error)
        if by_engine and not program.starts:
            lib.wasmtime_context_set_fuel(context, fuel)
        lib.wasmtime_instance_export_get(context, instance, b"_start", 6, self._item_reference)
        error = lib.wasmtime_func_call_unchecked(context, self._item_content, self._values_reference, 1, trap_reference)
        return True, *self._taken(error)

    def _taken(self, error: int | None) -> tuple[str | None, str | None]:
        """The name of the trap and the first line of the error; both are freed."""
        lib, name, trap = self._lib, None, self._trap.value
        if trap:
            code = ctypes.c_uint8()
            if lib.wasmtime_trap_code(trap, ctypes.byref(code)):
                name = library.TRAPS[code.value] if code.value < len(library.TRAPS) else "other"
            else:
                name = _UNCAUGHT if _was_thrown(self._text(lib.wasm_trap_message, trap)) else _STOPPED
            lib.wasm_trap_delete(trap)
        if not error:
            return name, None
        # Instantiating a module gives those of its traps that have no code as errors.
        message = self._message_of(error)
        return _UNCAUGHT if _was_thrown(message) else name, (message.splitlines() or ["error"])[0]

    def _message_of(self, error: int) -> str:
        """The error's message; it is freed."""
        text = self._text(self._lib.wasmtime_error_message, error)
        self._lib.wasmtime_error_delete(error)
        return text

    def _text(self, function: Callable[..., None], of: int) -> str:
        content = library.Bytes()
        function(of, ctypes.byref(content))
        text = ctypes.string_at(content.data, content.size).decode(errors="replace") if content.size else ""
        self._lib.wasm_byte_vec_delete(ctypes.byref(content))
        return text

    # --- host functions -----------------------------------------------------------------------------------------------

    def _define(self, name: str, parameters: str) -> Any:
        lib = self._lib
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
                    run.wasi.memory = _view(region.base, region.size, _WRITABLE)
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
            trap: int = lib.wasmtime_trap_new(b"stopped", 7)
            return trap

        raw = HOST_FUNCTION(callback)
        module = wasi.MODULE.encode()
        for engine in self._engines.values():
            # A type of its own for each: it belongs to the first engine that it is shown to.
            kind = self._function_type(parameters, "" if name == "proc_exit" else "i")
            error = lib.wasmtime_linker_define_func_unchecked(
                engine.linker, module, len(module), name.encode(), len(name), kind, raw, None, _NO_FINALIZER
            )
            lib.wasm_functype_delete(kind)
            if error:
                raise EngineError(self._message_of(error))
        return raw

    def _function_type(self, parameters: str, results: str) -> int:
        vectors = []
        for kinds in (parameters, results):
            types = (POINTER * len(kinds))(*(self._lib.wasm_valtype_new(_VALUE_KINDS[kind]) for kind in kinds))
            vectors.append(library.ValueTypes())
            self._lib.wasm_valtype_vec_new(ctypes.byref(vectors[-1]), len(kinds), types)
        made: int = self._lib.wasm_functype_new(*map(ctypes.byref, vectors))
        return made

    def _find(self, run: Run, caller: int) -> Region:
        if not self._lib.wasmtime_caller_export_get(caller, b"memory", 6, self._item_reference):
            raise OSError("the module has no memory")
        base = self._lib.wasmtime_memory_data(run.context, self._item_content)
        run.region = self.memories.regions[base or 0]
        return run.region
