"""From a module that is in order to one that wasm3 reads as it is meant."""

from __future__ import annotations

from dataclasses import replace

from plasm_cell import binary, modules
from plasm_cell.binary import export_item, signed, unsigned
from plasm_cell.instrument import Instrumented, instrument

from . import floats
from .lowering import Lowered
from .validation import TABLE_ELEMENTS, Validation

_NOTHING = b"\0"


def prepare(module: bytes, facts: Lowered) -> Instrumented:
    """Lowered and instrumented; with a table as long as it is declared, and without what wasm3 need not know.

    What comes out has been validated. Raises :exc:`Refused`, and :exc:`.binary.Invalid` where that has more of
    something than there may be.
    """
    sections = dict(binary.sections(module))
    if facts.signatures:
        sections[binary.TYPE] = floats.type_section(facts.signatures)
    if binary.GLOBAL in sections:
        sections[binary.GLOBAL] = floats.global_section(sections[binary.GLOBAL])
    if facts.bodies:
        sections[binary.CODE] = unsigned(len(facts.bodies)) + b"".join(
            unsigned(len(body)) + body for body in facts.bodies
        )
    made = instrument(binary.join(sections))
    sections = dict(binary.sections(made.module))
    sections.pop(binary.DATA_COUNT, None)
    overfull = any(offset + len(functions) > facts.table_elements for offset, functions in facts.segments)
    # One that goes beyond the table is a trap, which ends the program before it begins; wasm3 would make it fit.
    segments = [] if overfull else [_segment(offset, functions) for offset, functions in facts.segments]
    if 0 < facts.table_elements <= TABLE_ELEMENTS:
        # wasm3 makes a table as long as its segments reach.
        segments.append(_segment(facts.table_elements, ()))
    sections[binary.ELEMENT] = unsigned(len(segments)) + b"".join(segments)
    sections[binary.EXPORT] = _exports(modules.parse(made.module), made)
    rewritten = binary.join(sections)
    Validation(rewritten)
    return replace(made, module=rewritten, trap="table_out_of_bounds" if overfull else None)


def _exports(parsed: modules.Module, made: Instrumented) -> bytes:
    """Those that are used: wasm3 takes names up to their first NUL, so that others might be found in their place."""
    names = ("_start", made.limit, made.refused, made.start)
    used = [name for name in names if name is not None and name in parsed.exports]
    return unsigned(len(used)) + b"".join(export_item(name, *parsed.exports[name]) for name in used)


def without_data(module: bytes) -> bytes:
    """The same code, with nothing in its memory: for a trial that takes little."""
    sections = dict(binary.sections(module))
    sections.pop(binary.DATA, None)
    sections[binary.MEMORY] = b"\1\0\0"
    return binary.join(sections)


def _segment(offset: int, functions: tuple[int, ...]) -> bytes:
    where = b"\x41" + signed(offset - (offset >> 31 << 32)) + b"\x0b"
    return _NOTHING + where + unsigned(len(functions)) + b"".join(map(unsigned, functions))
