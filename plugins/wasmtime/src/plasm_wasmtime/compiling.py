"""Compiling by the Python package of wasmtime, which is imported where modules are compiled and not where they run."""

from __future__ import annotations

import wasmtime
from plasm_cell.engine import Compiled, GaveUp, Refused
from plasm_cell.modules import Module, check
from wasmtime import _bindings

from . import library
from .counting import counted
from .settings import BY_COUNTER, BY_ENGINE, ENGINE_SETTINGS, NOT_AT_ALL, UNCOUNTED_SETTINGS, Settings

library.check(_bindings, ENGINE_SETTINGS)


def compile_counting(module: bytes) -> Compiled:
    """`module` with a counter of its own if it can have one, else so that the engine counts. Raises :exc:`Refused`."""
    checked = check(module)
    # Without the start section: what that burned is lost where it traps, for then there is no instance to ask.
    if not checked.starts:
        _validate(module)
        if (rewritten := counted(module)) is not None:
            try:
                return _compiled(rewritten, checked, BY_COUNTER, UNCOUNTED_SETTINGS)
            except (GaveUp, Refused):
                # At a bound of the engine's, on locals or on the size of a function, the original may still pass.
                pass
    return _compiled(module, checked, BY_ENGINE, ENGINE_SETTINGS)


def compile_limiting(module: bytes) -> Compiled:
    """`module` so that the engine counts, and stops it when its fuel is spent. Raises :exc:`Refused`."""
    return _compiled(module, check(module), BY_ENGINE, ENGINE_SETTINGS)


def compile_uncounted(module: bytes) -> Compiled:
    """`module` as it is. Raises :exc:`Refused`."""
    return _compiled(module, check(module), NOT_AT_ALL, UNCOUNTED_SETTINGS)


def _validate(module: bytes) -> None:
    try:
        wasmtime.Module.validate(_engine(UNCOUNTED_SETTINGS), module)
    except wasmtime.WasmtimeError as error:
        raise Refused(f"not a valid WebAssembly module: {_reason(error)}") from None


def _compiled(module: bytes, checked: Module, counted_how: bytes, settings: Settings) -> Compiled:
    try:
        made = wasmtime.Module(_engine(settings), module)
    except wasmtime.WasmtimeError as error:
        # What is wrong with the module is found by looking at it alone; everything else is a bound of this engine's or
        # of this machine's.
        _validate(module)
        raise GaveUp(f"wasmtime does not compile it: {_reason(error)}") from None
    return Compiled(bytes(made.serialize()) + counted_how, checked.starts)


def _engine(settings: Settings) -> wasmtime.Engine:
    config = wasmtime.Config()
    for name, value in settings.items():
        setattr(config, name, value)
    return wasmtime.Engine(config)


def _reason(error: wasmtime.WasmtimeError) -> str:
    """The causes of an engine's error in one line, the innermost last."""
    lines = [line.strip() for line in str(error).splitlines()]
    causes = [line.partition(": ")[2] if line[:1].isdigit() else line for line in lines if line]
    return ": ".join(cause for cause in causes if cause not in ("", "Caused by:"))
