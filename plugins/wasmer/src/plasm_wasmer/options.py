"""The options of the runtime ``wasmer``, as they stand under ``[runtime.wasmer]``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from plasm_cells.options import CellOptions


class WasmerOptions(CellOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Those of every runtime of cells, and:"""

    install_seconds: Annotated[float, Meta(gt=0)] = 300.0
    """Deadline for making the engine's environment, which happens once."""
