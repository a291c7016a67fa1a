"""What this distribution offers to Plasm."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from plasm.drivers import Driver, DriverUnavailable, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Runtime

from .options import WasmtimeOptions

if TYPE_CHECKING:
    from plasm_cells.spec import EngineSpec

PLASM_API = 1


def open_wasmtime(scope: Scope, options: WasmtimeOptions) -> AbstractAsyncContextManager[Runtime]:
    """Open the runtime; see :class:`plasm_cells.runtime.CellRuntime`. Raises :exc:`DriverUnavailable`."""
    found = _find_engine()
    from plasm_cells.runtime import open_runtime

    return open_runtime(scope, options, found)


def check() -> None:
    """Raises :exc:`DriverUnavailable` where cells cannot be started here, or not with every wall."""
    _find_engine()
    from plasm_cells.runtime import check_walls

    check_walls(WasmtimeOptions())


def _find_engine() -> EngineSpec:
    if sys.platform != "linux":
        raise DriverUnavailable("the runtime wasmtime needs Linux (pidfd, memfd)", "use a Linux machine or container")
    engine = importlib.util.find_spec("wasmtime")
    if engine is None or engine.origin is None:
        raise DriverUnavailable("the engine wasmtime is not installed", "pip install 'wasmtime>=48,<51'")
    from plasm_cells.spec import EngineSpec

    from .settings import CONFIGURATION

    return EngineSpec(
        name="wasmtime",
        version=importlib.metadata.version("wasmtime"),
        configuration=CONFIGURATION,
        module="plasm_wasmtime.engine",
        paths=(Path(__file__).parent.parent, Path(engine.origin).parent.parent),
    )


@hookimpl
def plasm_runtimes() -> Sequence[Driver[Runtime]]:
    return (
        Driver(
            name="wasmtime",
            open=open_wasmtime,
            options=WasmtimeOptions,
            check=check,
            summary="WebAssembly by wasmtime's compiler, each job in a sandboxed cell of its own",
        ),
    )
