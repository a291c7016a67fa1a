"""What this distribution offers to Plasm."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plasm.drivers import Driver, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Runtime

from .options import Wasm3Options

if TYPE_CHECKING:
    from plasm_cells.spec import EngineSpec

PLASM_API = 1
CONFIGURATION: Final[Mapping[str, str | int | bool]] = {"nan": "canonical", "rewriting": 4, "stack_bytes": 1 << 20}
"""``rewriting`` counts the changes of what becomes of a module before wasm3 sees it."""


def open_wasm3(scope: Scope, options: Wasm3Options) -> AbstractAsyncContextManager[Runtime]:
    """Open the runtime; see :class:`plasm_cells.runtime.CellRuntime`. Raises :exc:`DriverUnavailable`."""
    found = _find_engine()
    from plasm_cells.runtime import open_runtime

    return open_runtime(scope, options, found)


def check() -> None:
    """Raises :exc:`DriverUnavailable` where cells cannot be started here, or not with every wall."""
    _find_engine()
    from plasm_cells.runtime import check_walls

    check_walls(Wasm3Options())


def _find_engine() -> EngineSpec:
    from plasm_cells.presence import find_engine, require_linux
    from plasm_cells.spec import EngineSpec

    require_linux("wasm3")
    engine = find_engine("wasm3", "pip install 'pywasm3==0.5.0', which needs a C compiler")
    return EngineSpec(
        name="wasm3",
        version=importlib.metadata.version("pywasm3"),
        configuration=CONFIGURATION,
        module="plasm_wasm3.engine",
        paths=(Path(__file__).parent.parent, engine.parent),
        counts_fuel=False,
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
