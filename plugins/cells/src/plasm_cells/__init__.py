"""Cells as the node sees them: see :mod:`plasm_cells.runtime`."""
