"""From a module that is in order to one that wasm3 reads as it is meant."""

from __future__ import annotations

from dataclasses import replace

from plasm_cell import binary
from plasm_cell.binary import signed, unsigned
from plasm_cell.instrument import Instrumented, instrument

from .validation import TABLE_ELEMENTS, Validation

_NOTHING = b"\0"


def prepare(module: bytes, facts: Validation) -> Instrumented:
    """Instrumented; with a table as long as it is declared, and without what wasm3 does not know but need not."""
    made = instrument(module)
    sections = dict(binary.sections(made.module))
    sections.pop(binary.DATA_COUNT, None)
    segments = [_segment(offset, functions) for offset, functions in facts.segments]
    if 0 < facts.table_elements <= TABLE_ELEMENTS:
        # wasm3 makes a table as long as its segments reach.
        segments.append(_segment(facts.table_elements, ()))
    sections[binary.ELEMENT] = unsigned(len(segments)) + b"".join(segments)
    overfull = any(offset + len(functions) > facts.table_elements for offset, functions in facts.segments)
    return replace(made, module=binary.join(sections), trap="table_out_of_bounds" if overfull else None)


def without_data(module: bytes) -> bytes:
    """The same code, with nothing in its memory: for a trial that takes little."""
    sections = dict(binary.sections(module))
    sections.pop(binary.DATA, None)
    sections[binary.MEMORY] = b"\1\0\0"
    return binary.join(sections)


def _segment(offset: int, functions: tuple[int, ...]) -> bytes:
    where = b"\x41" + signed(offset - (offset >> 31 << 32)) + b"\x0b"
    return _NOTHING + where + unsigned(len(functions)) + b"".join(map(unsigned, functions))
