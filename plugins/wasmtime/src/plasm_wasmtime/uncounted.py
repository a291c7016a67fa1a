"""The engine without fuel; see :mod:`.engine`."""

from __future__ import annotations

from plasm_cell.engine import Compiled

from .engine import WasmtimeMachine, system_calls
from .settings import NOT_COUNTING

__all__ = ["compile_module", "machine", "system_calls"]


def compile_module(module: bytes) -> Compiled:
    """See :meth:`plasm_cell.engine.Engine.compile_module`."""
    from .compiling import compile_uncounted

    return compile_uncounted(module)


def machine() -> WasmtimeMachine:
    """See :meth:`plasm_cell.engine.Engine.machine`."""
    return WasmtimeMachine(NOT_COUNTING)
