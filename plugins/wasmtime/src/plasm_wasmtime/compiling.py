"""Compiling by the Python package of wasmtime, which is imported where modules are compiled and not where they run."""

from __future__ import annotations

import wasmtime
from plasm_cell.engine import Compiled, Refused
from plasm_cell.modules import check
from wasmtime import _bindings

from . import library
from .settings import ENGINE_SETTINGS, Settings

library.check(_bindings, ENGINE_SETTINGS)


def compiled(module: bytes, settings: Settings) -> Compiled:
    """See :meth:`plasm_cell.engine.Engine.compile_module`."""
    checked = check(module)
    config = wasmtime.Config()
    for name, value in settings.items():
        setattr(config, name, value)
    try:
        made = wasmtime.Module(wasmtime.Engine(config), module)
    except wasmtime.WasmtimeError as error:
        raise Refused(f"not a valid WebAssembly module: {_reason(error)}") from None
    return Compiled(bytes(made.serialize()), checked.starts)


def _reason(error: wasmtime.WasmtimeError) -> str:
    """The causes of an engine's error in one line, the innermost last."""
    lines = [line.strip() for line in str(error).splitlines()]
    causes = [line.partition(": ")[2] if line[:1].isdigit() else line for line in lines if line]
    return ": ".join(cause for cause in causes if cause not in ("", "Caused by:"))
