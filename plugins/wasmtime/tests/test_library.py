"""The C functions are declared as the installed engine has them, and one that has others is not called."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from plasm_wasmtime import library
from plasm_wasmtime.library import InterfaceChanged
from plasm_wasmtime.settings import ENGINE_SETTINGS
from wasmtime import _bindings


def _changed(**changes: Any) -> Any:
    return SimpleNamespace(**{**vars(_bindings), **changes})


def test_the_installed_engine_has_what_is_declared() -> None:
    library.check(_bindings, ENGINE_SETTINGS)


@pytest.mark.parametrize(
    ("name", "parameters", "result"),
    [
        ("wasmtime_store_limiter", [ctypes.c_void_p, *[ctypes.c_int64] * 4], None),
        ("wasmtime_context_set_fuel", [ctypes.c_void_p, ctypes.c_uint32], ctypes.c_void_p),
        ("wasmtime_trap_code", [ctypes.c_void_p, ctypes.c_void_p], ctypes.c_uint64),
    ],
)
def test_a_function_that_changed_is_told(name: str, parameters: list[Any], result: Any) -> None:
    other = SimpleNamespace(argtypes=parameters, restype=result)
    with pytest.raises(InterfaceChanged, match=name):
        library.check(_changed(**{f"_{name}": other}), ENGINE_SETTINGS)


def test_a_callback_that_changed_is_told() -> None:
    other = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint32)
    with pytest.raises(InterfaceChanged, match="grow_callback"):
        library.check(_changed(wasmtime_memory_grow_callback_t=other), ENGINE_SETTINGS)


def test_a_structure_that_changed_is_told() -> None:
    class Moved(ctypes.Structure):
        _fields_ = (
            ("get_memory", library.GET_MEMORY),
            ("env", library.POINTER),
            ("grow_memory", library.GROW_MEMORY),
            ("finalizer", library.FINALIZER),
        )

    with pytest.raises(InterfaceChanged, match="linear_memory"):
        library.check(_changed(wasmtime_linear_memory_t=Moved), ENGINE_SETTINGS)


def test_a_setting_or_a_type_that_is_gone_is_told() -> None:
    with pytest.raises(InterfaceChanged, match="wasmtime_config_teleport_set"):
        library.check(_bindings, {"teleport": True})
    with pytest.raises(InterfaceChanged, match="wasmtime_extern_t"):
        library.check(_changed(wasmtime_extern_t=None), ENGINE_SETTINGS)


def test_a_process_that_runs_guests_never_imports_the_bindings() -> None:
    program = (
        "import sys\n"
        "from plasm_wasmtime.engine import machine\n"
        "machine()\n"
        "assert 'wasmtime' not in sys.modules, 'each cell would pay for it'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
