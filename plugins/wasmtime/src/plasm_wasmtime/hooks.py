"""What this distribution offers to Plasm."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from plasm.drivers import Driver, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Runtime

from .options import WasmtimeOptions

if TYPE_CHECKING:
    from plasm_cells.spec import EngineSpec

PLASM_API = 1


def open_wasmtime(scope: Scope, options: WasmtimeOptions) -> AbstractAsyncContextManager[Runtime]:
    """Open the runtime; see :class:`plasm_cells.runtime.CellRuntime`. Raises :exc:`DriverUnavailable`."""
    found = _find_engine(count_fuel=options.count_fuel)
    from plasm_cells.runtime import open_runtime

    return open_runtime(scope, options, found)


def check() -> None:
    """Raises :exc:`DriverUnavailable` where cells cannot be started here, or not with every wall."""
    _find_engine(count_fuel=True)
    from plasm_cells.runtime import check_walls

    check_walls(WasmtimeOptions())


def _find_engine(*, count_fuel: bool) -> EngineSpec:
    from plasm_cells.presence import find_engine, require_linux
    from plasm_cells.spec import EngineSpec

    from .settings import configuration

    require_linux("wasmtime")
    engine = find_engine("wasmtime", "pip install 'wasmtime>=49,<51'")
    return EngineSpec(
        name="wasmtime",
        version=importlib.metadata.version("wasmtime"),
        configuration=configuration(count_fuel=count_fuel),
        module="plasm_wasmtime.engine" if count_fuel else "plasm_wasmtime.uncounted",
        compiler="plasm_wasmtime.compiling",
        paths=(Path(__file__).parent.parent, engine.parent.parent),
        counts_fuel=count_fuel,
        limits_apart=count_fuel,
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
