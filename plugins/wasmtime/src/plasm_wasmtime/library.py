"""wasmtime's C functions, as its headers ``wasm.h`` and ``wasmtime/*.h`` declare them.

Not by the bindings of the Python package: they are some 3.5 MB of objects, and each fork of a warm parent pays for the
pages that they stand on. Where those bindings are imported anyway, to compile, :func:`check` holds them against this.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Mapping
from typing import Any, Final

POINTER: Final = ctypes.c_void_p
SIZE: Final = ctypes.c_size_t
_TEXT: Final = ctypes.c_char_p

HOST_FUNCTION: Final = ctypes.CFUNCTYPE(SIZE, POINTER, POINTER, POINTER, SIZE)
"""``wasmtime_func_unchecked_callback_t``: environment, caller, values and their number; gives a trap or null."""
FINALIZER: Final = ctypes.CFUNCTYPE(None, POINTER)
NEW_MEMORY: Final = ctypes.CFUNCTYPE(SIZE, POINTER, POINTER, SIZE, SIZE, SIZE, SIZE, POINTER)
"""``wasmtime_new_memory_callback_t``: environment, type, minimum, maximum, reserved, guard, the memory to be filled."""
GET_MEMORY: Final = ctypes.CFUNCTYPE(SIZE, POINTER, POINTER, POINTER)
GROW_MEMORY: Final = ctypes.CFUNCTYPE(SIZE, POINTER, SIZE)


class Library:
    """The functions as attributes. Not a :class:`ctypes.CDLL`, which looks each of them up by its slowest way."""


class InterfaceChanged(Exception):
    """The installed engine's C interface is not the one this was written for; calling it would corrupt memory."""


class LinearMemory(ctypes.Structure):
    """``wasmtime_linear_memory_t``."""

    _fields_ = (("env", POINTER), ("get_memory", GET_MEMORY), ("grow_memory", GROW_MEMORY), ("finalizer", FINALIZER))


class MemoryCreator(ctypes.Structure):
    """``wasmtime_memory_creator_t``."""

    _fields_ = (("env", POINTER), ("new_memory", NEW_MEMORY), ("finalizer", FINALIZER))


class Bytes(ctypes.Structure):
    """``wasm_byte_vec_t``, which is a ``wasm_name_t`` as well."""

    _fields_ = (("size", SIZE), ("data", POINTER))


class ValueTypes(ctypes.Structure):
    """``wasm_valtype_vec_t``."""

    _fields_ = (("size", SIZE), ("data", POINTER))


class Instance(ctypes.Structure):
    """``wasmtime_instance_t``."""

    _fields_ = (("store_id", ctypes.c_uint64), ("_private", SIZE))


class Item(ctypes.Structure):
    """``wasmtime_extern_t``: what it is, then a union whose members are as large as a function or a memory."""

    _fields_ = (("kind", ctypes.c_uint8), ("of", ctypes.c_uint64 * 3))


class Value(ctypes.Structure):
    """``wasmtime_val_t``: what it is, then a union."""

    _fields_ = (("kind", ctypes.c_uint8), ("of", ctypes.c_uint64 * 3))


class RawValue(ctypes.Structure):
    """``wasmtime_val_raw_t``."""

    _fields_ = (("_value", ctypes.c_uint64 * 2),)


ITEM_CONTENT: Final = Item.of.offset

_STRUCTURES: Final[dict[str, type[ctypes.Structure]]] = {
    "wasmtime_linear_memory_t": LinearMemory,
    "wasmtime_memory_creator_t": MemoryCreator,
    "wasm_byte_vec_t": Bytes,
    "wasm_valtype_vec_t": ValueTypes,
    "wasmtime_instance_t": Instance,
    "wasmtime_extern_t": Item,
    "wasmtime_val_t": Value,
    "wasmtime_val_raw_t": RawValue,
}
_CALLBACKS: Final[dict[str, Any]] = {
    "wasmtime_func_unchecked_callback_t": HOST_FUNCTION,
    "wasmtime_new_memory_callback_t": NEW_MEMORY,
    "wasmtime_memory_get_callback_t": GET_MEMORY,
    "wasmtime_memory_grow_callback_t": GROW_MEMORY,
}
_FUNCTIONS: Final[dict[str, tuple[Any, ...]]] = {
    "wasm_config_new": (POINTER,),
    "wasmtime_config_host_memory_creator_set": (None, POINTER, POINTER),
    "wasm_engine_new_with_config": (POINTER, POINTER),
    "wasm_valtype_new": (POINTER, ctypes.c_uint8),
    "wasm_valtype_vec_new": (None, POINTER, SIZE, POINTER),
    "wasm_functype_new": (POINTER, POINTER, POINTER),
    "wasm_functype_delete": (None, POINTER),
    "wasmtime_linker_new": (POINTER, POINTER),
    "wasmtime_linker_define_func_unchecked": (
        *(POINTER, POINTER),
        *(_TEXT, SIZE, _TEXT, SIZE),
        *(POINTER, HOST_FUNCTION, POINTER, FINALIZER),
    ),
    "wasmtime_linker_instantiate_pre": (POINTER, POINTER, POINTER, POINTER),
    "wasmtime_instance_pre_delete": (None, POINTER),
    "wasmtime_instance_pre_instantiate": (POINTER, POINTER, POINTER, POINTER, POINTER),
    "wasmtime_module_deserialize": (POINTER, POINTER, POINTER, SIZE, POINTER),
    "wasmtime_module_delete": (None, POINTER),
    "wasmtime_store_new": (POINTER, POINTER, POINTER, FINALIZER),
    "wasmtime_store_delete": (None, POINTER),
    "wasmtime_store_context": (POINTER, POINTER),
    "wasmtime_store_limiter": (None, POINTER, *(ctypes.c_int64,) * 5),
    "wasmtime_context_set_fuel": (POINTER, POINTER, ctypes.c_uint64),
    "wasmtime_context_get_fuel": (POINTER, POINTER, POINTER),
    "wasmtime_instance_export_get": (ctypes.c_bool, POINTER, POINTER, _TEXT, SIZE, POINTER),
    "wasmtime_caller_export_get": (ctypes.c_bool, POINTER, _TEXT, SIZE, POINTER),
    "wasmtime_global_get": (None, POINTER, POINTER, POINTER),
    "wasmtime_memory_data": (POINTER, POINTER, POINTER),
    "wasmtime_func_call_unchecked": (POINTER, POINTER, POINTER, POINTER, SIZE, POINTER),
    "wasmtime_trap_new": (POINTER, _TEXT, SIZE),
    "wasmtime_trap_code": (ctypes.c_bool, POINTER, POINTER),
    "wasm_trap_message": (None, POINTER, POINTER),
    "wasm_trap_delete": (None, POINTER),
    "wasmtime_error_new": (POINTER, _TEXT),
    "wasmtime_error_message": (None, POINTER, POINTER),
    "wasmtime_error_delete": (None, POINTER),
    "wasm_byte_vec_delete": (None, POINTER),
}
"""Name → result and parameters."""
_MACHINES: Final = {"arm64": "aarch64"}

TRAPS: Final = (
    "stack_overflow",
    "memory_out_of_bounds",
    "heap_misaligned",
    "table_out_of_bounds",
    "indirect_call_to_null",
    "bad_signature",
    "integer_overflow",
    "integer_division_by_zero",
    "bad_conversion_to_integer",
    "unreachable",
    "interrupt",
    "out_of_fuel",
)
"""The names of the first ``wasmtime_trap_code_t``."""


def load(settings: Mapping[str, bool | int]) -> Any:
    """The library with its functions declared, and with those that set `settings`. The package is not imported.

    Raises :exc:`ImportError`, :exc:`OSError`, :exc:`AttributeError`.
    """
    spec = importlib.util.find_spec("wasmtime")
    if spec is None or spec.origin is None:
        raise ImportError("wasmtime is not installed")
    machine = os.uname().machine
    folder = f"linux-{_MACHINES.get(machine, machine)}"
    found = ctypes.CDLL(os.path.join(os.path.dirname(spec.origin), folder, "_libwasmtime.so"))
    library = Library()
    for name, (result, *parameters) in {**_FUNCTIONS, **_setters(settings)}.items():
        function = getattr(found, name)
        function.restype = result
        function.argtypes = parameters
        setattr(library, name, function)
    return library


def setter(setting: str) -> str:
    """The name of the function that sets an attribute of ``wasmtime.Config``."""
    return f"wasmtime_config_{setting}_set"


def _setters(settings: Mapping[str, bool | int]) -> dict[str, tuple[Any, ...]]:
    return {
        setter(name): (None, POINTER, ctypes.c_bool if isinstance(value, bool) else ctypes.c_uint64)
        for name, value in settings.items()
    }


def check(bindings: Any, settings: Mapping[str, bool | int]) -> None:
    """Hold all of this against the package's bindings. Raises :exc:`InterfaceChanged`."""
    for name, structure in _STRUCTURES.items():
        if _layout(getattr(bindings, name, None), structure) != _layout(structure, structure):
            raise InterfaceChanged(f"this release of wasmtime has another {name}")
    for name, callback in _CALLBACKS.items():
        if _form(getattr(bindings, name, None)) != _form(callback):
            raise InterfaceChanged(f"this release of wasmtime has another {name}")
    for name, ours in {**_FUNCTIONS, **_setters(settings)}.items():
        function = getattr(bindings, f"_{name}", None)
        theirs = () if function is None else (function.restype, *function.argtypes)
        if [*map(_form, theirs)] != [*map(_form, ours)]:
            raise InterfaceChanged(f"this release of wasmtime has another {name}")
    names = {code.value: code.name.removeprefix("WASMTIME_TRAP_CODE_") for code in bindings.wasmtime_trap_code_enum}
    if tuple(names.get(code, "").removesuffix("_CODE_REACHED").lower() for code in range(len(TRAPS))) != TRAPS:
        raise InterfaceChanged("this release of wasmtime has other traps")


def _layout(kind: Any, ours: type[ctypes.Structure]) -> Any:
    """Size, alignment and where the fields stand that we have names for."""
    names = [name for name, *_ in ours._fields_ if not name.startswith("_")]
    if kind is None or not all(hasattr(kind, name) for name in names):
        return None
    return ctypes.sizeof(kind), ctypes.alignment(kind), [getattr(kind, name).offset for name in names]


def _form(kind: Any) -> Any:
    """What a type is in a call: a pointer is a pointer, whatever it points at."""
    if kind is None:
        return None
    if hasattr(kind, "_argtypes_"):
        return _form(kind._restype_), tuple(map(_form, kind._argtypes_))
    if kind in (ctypes.c_void_p, ctypes.c_char_p) or issubclass(kind, ctypes._Pointer):
        return "pointer"
    return kind._type_
