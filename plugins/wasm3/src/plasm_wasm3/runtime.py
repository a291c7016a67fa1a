"""The runtime ``wasm3``: cells with that engine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from plasm_cells import runtime
from plasm_cells.runtime import CellRuntime
from plasm_cells.spec import EngineSpec

from plasm.drivers import DriverUnavailable, Scope

from .options import Wasm3Options

if TYPE_CHECKING:
    from plasm.ports import Runtime

CONFIGURATION: dict[str, str | int | bool] = {"nan": "canonical", "rewriting": 1, "stack_bytes": 1 << 20}
"""``rewriting`` counts the changes of what becomes of a module before wasm3 sees it."""


def open_runtime(scope: Scope, options: Wasm3Options) -> AbstractAsyncContextManager[CellRuntime]:
    """See :func:`plasm_cells.runtime.open_runtime`. Raises :exc:`DriverUnavailable`."""
    return runtime.open_runtime(scope, options, specification())


def specification() -> EngineSpec:
    """The engine as it is installed. Raises :exc:`DriverUnavailable`."""
    found = importlib.util.find_spec("wasm3")
    if found is None or found.origin is None:
        raise DriverUnavailable("the engine wasm3 is not installed", "pip install 'pywasm3==0.5.0'")
    return EngineSpec(
        name="wasm3",
        version=importlib.metadata.version("pywasm3"),
        configuration=CONFIGURATION,
        module="plasm_wasm3.engine",
        paths=(Path(__file__).parent.parent, Path(found.origin).parent),
        counts_fuel=False,
    )


if TYPE_CHECKING:
    _: type[Runtime] = CellRuntime
