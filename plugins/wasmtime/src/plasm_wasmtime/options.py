"""The options of the runtime ``wasmtime``, as they stand under ``[runtime.wasmtime]``."""

from __future__ import annotations

from plasm_cells.options import CellOptions


class WasmtimeOptions(CellOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Those of every runtime of cells, and one."""

    count_fuel: bool = True
    """Count what programs burn. Without, they run faster, and a job that limits its fuel is refused."""
