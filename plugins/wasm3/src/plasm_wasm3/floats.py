"""Carries numbers of the type ``f32`` as ``i32``, so that their bits stay as they are.

wasm3 has one register for both types of floats, a ``double``: each ``f32`` that passes through it is converted, which
makes signalling NaNs quiet. Here an ``f32`` is the integer of the same bits wherever it only moves: in locals, globals,
parameters, results and memory, and on the stack. It is a float between the operands of an arithmetic instruction and
its result, where no NaN's bits are kept anyway. Source: ``m3_exec_defs.h`` and ``m3_exec.h`` of wasm3 0.5.0 (``_fp0``).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from plasm_cell import instructions
from plasm_cell.binary import signed, unsigned
from plasm_cell.instructions import END, F32, F32_CONST, I32, I32_CONST, I64, I64_CONST, INSTRUCTIONS, Types

_FUNCTION_TYPE: Final = 0x60
_BITS: Final = struct.Struct("<i")
AS_FLOAT: Final = b"\xbe"
"""``f32.reinterpret_i32``."""
AS_INTEGER: Final = b"\xbc"
"""``i32.reinterpret_f32``."""
NOTHING_TO_DO: Final = frozenset((0xBC, 0xBE))
"""The same instructions where they stand in the module."""
COPYSIGN: Final = 0x98
_SIGN: Final = bytes((I32_CONST,)) + signed(-1 << 31)
_OTHERS: Final = bytes((I32_CONST,)) + signed((1 << 31) - 1)
_AND, _OR, _XOR = b"\x71", b"\x72", b"\x73"
SIGN_OF: Final = _SIGN + _AND
WITHOUT_SIGN: Final = _OTHERS + _AND
JOINED: Final = _OR
_SAME_BITS: Final = {0x2A: b"\x28", 0x38: b"\x36", 0x8B: WITHOUT_SIGN, 0x8C: _SIGN + _XOR}
"""``f32.load`` and ``f32.store``, whose immediates stay, and ``f32.abs`` and ``f32.neg``."""


class Signature(NamedTuple):
    """What becomes of a function type."""

    parameters: Types
    """As they are passed, the ones that are added among them."""
    results: Types
    added: int
    """Of the parameters, the last ones: without a meaning. They keep apart what was apart with ``f32``."""

    @property
    def filled_in(self) -> bytes:
        """The instructions that give the parameters which are added."""
        kinds = self.parameters[len(self.parameters) - self.added :]
        return b"".join(bytes((I32_CONST if kind == I32 else I64_CONST, 0)) for kind in kinds)


def carried(kinds: Sequence[int]) -> Types:
    """The types of values of `kinds` as wasm3 gets them."""
    return tuple(I32 if kind == F32 else kind for kind in kinds) if F32 in kinds else tuple(kinds)


def _added(number: int) -> Types:
    """Types in a row, another one for each number: few, so that many types take little."""
    return tuple(I64 if digit == "1" else I32 for digit in f"{number + 1:b}"[1:])


def signatures(types: Sequence[tuple[Types, Types]]) -> list[Signature]:
    """One for each of `types`; equal ones for equal ones, and different ones for different ones."""
    taken = {known for known in types if F32 not in known[0] and F32 not in known[1]}
    found = {known: Signature(*known, 0) for known in taken}
    numbers: dict[tuple[Types, Types], int] = {}
    for known in types:
        if known in found:
            continue
        parameters, results = base = carried(known[0]), carried(known[1])
        number = numbers.get(base, 0)
        while ((*parameters, *_added(number)), results) in taken:
            number += 1
        numbers[base] = number + 1
        added = _added(number)
        found[known] = Signature(parameters + added, results, len(added))
        taken.add((parameters + added, results))
    return [found[known] for known in types]


def type_section(made: Sequence[Signature]) -> bytes:
    """The section with these types."""
    out = bytearray(unsigned(len(made)))
    for parameters, results, _ in made:
        out.append(_FUNCTION_TYPE)
        out += unsigned(len(parameters)) + bytes(parameters) + unsigned(len(results)) + bytes(results)
    return bytes(out)


def global_section(content: bytes) -> bytes:
    """The section `content`, which is in order and has constants alone."""
    count, position = instructions.read_index(content, 0)
    out = bytearray(unsigned(count))
    for _ in range(count):
        kind, mutable = content[position : position + 2]
        _, immediates, after = instructions.read(content, position + 2, len(content))
        if kind == F32:
            out += bytes((I32, mutable)) + constant(content, immediates) + bytes((END,))
        else:
            out += content[position : after + 1]
        position = after + 1
    return bytes(out)


def constant(data: bytes, position: int) -> bytes:
    """The instruction for the ``f32.const`` with the immediate at `position`."""
    return bytes((I32_CONST,)) + signed(_BITS.unpack_from(data, position)[0])


def written(code: int, data: bytes, start: int, immediates: int, end: int) -> tuple[bytes, ...]:
    """The instruction `code` of at most one operand that is an ``f32``, or with an ``f32`` as its result."""
    if code == F32_CONST:
        return (constant(data, immediates),)
    same = _SAME_BITS.get(code)
    if same is not None:
        return (same + data[immediates:end],)
    return converted(code, data[start:end])


def converted(code: int, instruction: bytes) -> tuple[bytes, ...]:
    """With what gives its topmost operand as a float and its result as an integer."""
    known = INSTRUCTIONS[code]
    assert known.operands is not None
    before = (AS_FLOAT,) if known.operands[-1] == F32 else ()
    after = (AS_INTEGER,) if known.results == (F32,) else ()
    return (*before, instruction, *after)


WITH_FLOATS: Final = frozenset(
    code for code, known in INSTRUCTIONS.items() if F32 in (known.operands or ()) or F32 in (known.results or ())
)
"""Instructions that are written otherwise."""
