"""The runtime ``wasmer``: cells with that engine, in an interpreter of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from plasm_cells import runtime
from plasm_cells.runtime import CellRuntime
from plasm_cells.spec import EngineSpec

from plasm.drivers import Scope

from .environment import VERSION, packages
from .interpreter import find_interpreter
from .options import WasmerOptions

if TYPE_CHECKING:
    from plasm.ports import Runtime

CONFIGURATION: dict[str, str | int | bool] = {"compiler": "cranelift", "nan": "canonical", "rewriting": 2}
"""``rewriting`` counts the changes of what becomes of a module before wasmer sees it."""


@asynccontextmanager
async def open_runtime(scope: Scope, options: WasmerOptions) -> AsyncIterator[CellRuntime]:
    """See :func:`plasm_cells.runtime.open_runtime`; installs the engine where it has not been yet.

    Raises :exc:`DriverUnavailable`.
    """
    interpreter = await to_thread.run_sync(find_interpreter)
    async with packages(scope.home, interpreter, options.install_seconds, scope.log) as folder:
        spec = EngineSpec(
            name="wasmer",
            version=VERSION,
            configuration=CONFIGURATION,
            module="plasm_wasmer.engine",
            paths=(folder, Path(__file__).parent.parent),
            interpreter=interpreter,
            counts_fuel=False,
            compile_threads=True,
        )
        async with runtime.open_runtime(scope, options, spec) as opened:
            yield opened


if TYPE_CHECKING:
    _: type[Runtime] = CellRuntime
