"""What this distribution offers to Plasm."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from plasm.drivers import Driver, DriverUnavailable, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Runtime

from .options import Wasm3Options

PLASM_API = 1


def open_wasm3(scope: Scope, options: Wasm3Options) -> AbstractAsyncContextManager[Runtime]:
    """Open the runtime; see :func:`plasm_wasm3.runtime.open_runtime`. Raises :exc:`DriverUnavailable`."""
    _check_engine()
    from .runtime import open_runtime

    return open_runtime(scope, options)


def check() -> None:
    """Raises :exc:`DriverUnavailable` where cells cannot be started here, or not with every wall."""
    _check_engine()
    from plasm_cells.runtime import check_walls

    check_walls(Wasm3Options())


def _check_engine() -> None:
    if sys.platform != "linux":
        raise DriverUnavailable("the runtime wasm3 needs Linux (pidfd, memfd)", "use a Linux machine or container")
    if importlib.util.find_spec("wasm3") is None:
        raise DriverUnavailable(
            "the engine wasm3 is not installed", "pip install 'pywasm3==0.5.0', which needs a C compiler"
        )


@hookimpl
def plasm_runtimes() -> Sequence[Driver[Runtime]]:
    return (
        Driver(
            name="wasm3",
            open=open_wasm3,
            options=Wasm3Options,
            check=check,
            summary="WebAssembly by wasm3's interpreter: slow, and shares no code with the compilers it checks",
        ),
    )
