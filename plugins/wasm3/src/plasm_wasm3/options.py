"""The options of the runtime ``wasm3``, as they stand under ``[runtime.wasm3]``."""

from __future__ import annotations

from plasm_cells.options import CellOptions


class Wasm3Options(CellOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Those of every runtime of cells."""
