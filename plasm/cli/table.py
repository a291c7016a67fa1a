"""Plain tables: columns as wide as what stands in them."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> str:
    """The rows under their header, two spaces between columns; the first ones at least as wide as `widths`."""
    needed = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    least = [*widths, *(0 for _ in needed[len(widths) :])]
    padded = [max(pair) for pair in zip(needed, least, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, padded, strict=True)).rstrip()
        for row in (header, *rows)
    )
