"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from plasm.drivers import Driver, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Runtime

from .interpreter import find_interpreter
from .options import WasmerOptions

PLASM_API = 1


def open_wasmer(scope: Scope, options: WasmerOptions) -> AbstractAsyncContextManager[Runtime]:
    """Open the runtime; see :func:`plasm_wasmer.runtime.open_runtime`. Raises :exc:`DriverUnavailable`."""
    _require_system()
    from .runtime import open_runtime

    return open_runtime(scope, options)


def check() -> None:
    """Raises :exc:`DriverUnavailable` where cells cannot be started here, or not with every wall.

    Starts interpreters, for seconds at most; installs nothing.
    """
    _require_system()
    from plasm_cells.runtime import check_walls

    find_interpreter()
    check_walls(WasmerOptions())


def _require_system() -> None:
    from plasm_cells.presence import require_linux

    require_linux("wasmer")


@hookimpl
def plasm_runtimes() -> Sequence[Driver[Runtime]]:
    return (
        Driver(
            name="wasmer",
            open=open_wasmer,
            options=WasmerOptions,
            check=check,
            summary="WebAssembly by wasmer's compiler, in Python 3.10",
        ),
    )
