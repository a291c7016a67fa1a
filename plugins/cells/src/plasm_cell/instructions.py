"""The instructions that rewriters and validators know: what follows each in the binary format, and what it works on.

One table for all of them, so that none reads a module in another way than the next. It holds WebAssembly 2.0 (numbers,
bulk memory, references, vectors) and tail calls. What is not in it is not read on in the hope of the best: its length
is unknown, and :func:`read` refuses it.

Source: the WebAssembly core specification, 5.4 (binary format of instructions) and 3.4 (their types).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

I32, I64, F32, F64, V128 = 0x7F, 0x7E, 0x7D, 0x7C, 0x7B
FUNCREF, EXTERNREF = 0x70, 0x6F
EMPTY: Final = 0x40
"""The block type of a block without parameters and results."""

UNREACHABLE, NOP, BLOCK, LOOP, IF, ELSE, END = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0B
BR, BR_IF, BR_TABLE, RETURN = 0x0C, 0x0D, 0x0E, 0x0F
CALL, CALL_INDIRECT, RETURN_CALL, RETURN_CALL_INDIRECT = 0x10, 0x11, 0x12, 0x13
DROP, SELECT, SELECT_TYPED = 0x1A, 0x1B, 0x1C
LOCAL_GET, LOCAL_SET, LOCAL_TEE, GLOBAL_GET, GLOBAL_SET = 0x20, 0x21, 0x22, 0x23, 0x24
MEMORY_SIZE, MEMORY_GROW = 0x3F, 0x40
I32_CONST, I64_CONST, F32_CONST, F64_CONST = 0x41, 0x42, 0x43, 0x44
REF_FUNC: Final = 0xD2
MISCELLANEOUS, VECTOR = 0xFC, 0xFD
"""Prefixes: a number follows, and the instruction's code is ``prefix << 16 | number``."""
MEMORY_INIT, DATA_DROP, MEMORY_COPY, MEMORY_FILL = (MISCELLANEOUS << 16 | number for number in range(8, 12))
TABLE_INIT, ELEM_DROP, TABLE_COPY, TABLE_GROW, TABLE_SIZE, TABLE_FILL = (
    MISCELLANEOUS << 16 | number for number in range(12, 18)
)

# Kinds of immediates, one letter each in `Instruction.immediates`.
BLOCK_TYPE, INDEX, LABELS, MEMORY_ARGUMENT, SIGNED32, SIGNED64 = "b", "x", "l", "m", "i", "I"
BYTES4, BYTES8, BYTES16, LANE, TYPES, REFERENCE = "4", "8", "w", "n", "t", "r"

Types = tuple[int, ...]


class Unknown(Exception):
    """An instruction that the table does not hold, or immediates that are not its; the message is for people."""


class Instruction(NamedTuple):
    """What is known of one; `operands` and `results` where they are the same wherever it stands, without references."""

    immediates: str = ""
    operands: Types | None = None
    results: Types | None = None
    alignment: int = 0
    """Of loads and stores: the logarithm of the natural one."""


def _numeric() -> dict[int, Instruction]:
    """The instructions on numbers, which have no immediates."""
    table: dict[int, Instruction] = {}

    def add(first: int, last: int, operands: Types, *results: int) -> None:
        for code in range(first, last + 1):
            table[code] = Instruction("", operands, results)

    add(0x45, 0x45, (I32,), I32)
    add(0x46, 0x4F, (I32, I32), I32)
    add(0x50, 0x50, (I64,), I32)
    add(0x51, 0x5A, (I64, I64), I32)
    add(0x5B, 0x60, (F32, F32), I32)
    add(0x61, 0x66, (F64, F64), I32)
    add(0x67, 0x69, (I32,), I32)
    add(0x6A, 0x78, (I32, I32), I32)
    add(0x79, 0x7B, (I64,), I64)
    add(0x7C, 0x8A, (I64, I64), I64)
    add(0x8B, 0x91, (F32,), F32)
    add(0x92, 0x98, (F32, F32), F32)
    add(0x99, 0x9F, (F64,), F64)
    add(0xA0, 0xA6, (F64, F64), F64)
    conversions = (
        (I64, I32), (F32, I32), (F32, I32), (F64, I32), (F64, I32), (I32, I64), (I32, I64), (F32, I64), (F32, I64),
        (F64, I64), (F64, I64), (I32, F32), (I32, F32), (I64, F32), (I64, F32), (F64, F32), (I32, F64), (I32, F64),
        (I64, F64), (I64, F64), (F32, F64), (F32, I32), (F64, I64), (I32, F32), (I64, F64), (I32, I32), (I32, I32),
        (I64, I64), (I64, I64), (I64, I64),
    )  # fmt: skip
    for code, (operand, result) in enumerate(conversions, 0xA7):
        add(code, code, (operand,), result)
    saturating = ((F32, I32), (F32, I32), (F64, I32), (F64, I32), (F32, I64), (F32, I64), (F64, I64), (F64, I64))
    for code, (operand, result) in enumerate(saturating, MISCELLANEOUS << 16):
        add(code, code, (operand,), result)
    return table


def _memory() -> dict[int, Instruction]:
    """Loads and stores of numbers."""
    loads = (
        (I32, 2), (I64, 3), (F32, 2), (F64, 3), (I32, 0), (I32, 0), (I32, 1), (I32, 1), (I64, 0), (I64, 0), (I64, 1),
        (I64, 1), (I64, 2), (I64, 2),
    )  # fmt: skip
    stores = ((I32, 2), (I64, 3), (F32, 2), (F64, 3), (I32, 0), (I32, 1), (I64, 0), (I64, 1), (I64, 2))
    table = {
        code: Instruction(MEMORY_ARGUMENT, (I32,), (kind,), alignment)
        for code, (kind, alignment) in enumerate(loads, 0x28)
    }
    for code, (kind, alignment) in enumerate(stores, 0x36):
        table[code] = Instruction(MEMORY_ARGUMENT, (I32, kind), (), alignment)
    return table


_NO_VECTOR: Final = frozenset(
    (0x9A, 0xA2, 0xA5, 0xA6, 0xAF, 0xB0, 0xB2, 0xB3, 0xB4, 0xBB, 0xC2, 0xC5, 0xC6, 0xCF, 0xD0, 0xD2, 0xD3, 0xD4, 0xE2)
) | {0xEE}
"""Gaps among the numbers behind 0xFD."""


def _vector() -> dict[int, Instruction]:
    immediates = dict.fromkeys(range(0x100), "")
    immediates |= dict.fromkeys((*range(0x0C), 0x5C, 0x5D), MEMORY_ARGUMENT)
    immediates |= dict.fromkeys((0x0C, 0x0D), BYTES16)
    immediates |= dict.fromkeys(range(0x15, 0x23), LANE)
    immediates |= dict.fromkeys(range(0x54, 0x5C), MEMORY_ARGUMENT + LANE)
    return {VECTOR << 16 | number: Instruction(what) for number, what in immediates.items() if number not in _NO_VECTOR}


INSTRUCTIONS: Final[Mapping[int, Instruction]] = {
    **dict.fromkeys((UNREACHABLE, ELSE, END, RETURN, DROP, SELECT), Instruction()),
    NOP: Instruction("", (), ()),
    **dict.fromkeys((BLOCK, LOOP, IF), Instruction(BLOCK_TYPE)),
    **dict.fromkeys((BR, BR_IF, CALL, RETURN_CALL), Instruction(INDEX)),
    BR_TABLE: Instruction(LABELS),
    **dict.fromkeys((CALL_INDIRECT, RETURN_CALL_INDIRECT), Instruction(INDEX + INDEX)),
    SELECT_TYPED: Instruction(TYPES),
    **dict.fromkeys((LOCAL_GET, LOCAL_SET, LOCAL_TEE, GLOBAL_GET, GLOBAL_SET), Instruction(INDEX)),
    **dict.fromkeys((0x25, 0x26), Instruction(INDEX)),
    **_memory(),
    MEMORY_SIZE: Instruction(INDEX, (), (I32,)),
    MEMORY_GROW: Instruction(INDEX, (I32,), (I32,)),
    I32_CONST: Instruction(SIGNED32, (), (I32,)),
    I64_CONST: Instruction(SIGNED64, (), (I64,)),
    F32_CONST: Instruction(BYTES4, (), (F32,)),
    F64_CONST: Instruction(BYTES8, (), (F64,)),
    **_numeric(),
    0xD0: Instruction(REFERENCE),
    0xD1: Instruction(),
    REF_FUNC: Instruction(INDEX),
    MEMORY_INIT: Instruction(INDEX + INDEX, (I32, I32, I32), ()),
    DATA_DROP: Instruction(INDEX, (), ()),
    MEMORY_COPY: Instruction(INDEX + INDEX, (I32, I32, I32), ()),
    MEMORY_FILL: Instruction(INDEX, (I32, I32, I32), ()),
    TABLE_INIT: Instruction(INDEX + INDEX, (I32, I32, I32), ()),
    ELEM_DROP: Instruction(INDEX, (), ()),
    TABLE_COPY: Instruction(INDEX + INDEX, (I32, I32, I32), ()),
    TABLE_GROW: Instruction(INDEX),
    TABLE_SIZE: Instruction(INDEX, (), (I32,)),
    TABLE_FILL: Instruction(INDEX),
    **_vector(),
}
"""By code; behind a prefix ``prefix << 16 | number``."""


# --- reading --------------------------------------------------------------------------------------------------------


def _past_leb(bytes_at_most: int) -> Callable[[bytes, int], int]:
    def past(data: bytes, position: int) -> int:
        for after in range(position + 1, position + 1 + bytes_at_most):
            if data[after - 1] < 0x80:
                return after
        raise Unknown("a number is too long")

    return past


def read_index(data: bytes, position: int) -> tuple[int, int]:
    """A number of 32 bits without sign, and the position after it. Raises :exc:`Unknown`, :exc:`IndexError`."""
    after = _PAST_32(data, position)
    value = 0
    for at in range(after - 1, position - 1, -1):
        value = value << 7 | data[at] & 0x7F
    if value >> 32:
        raise Unknown("a number is too large")
    return value, after


def read_labels(data: bytes, position: int) -> tuple[list[int], int]:
    """The labels of a ``br_table``, the default last, and the position after them."""
    count, position = read_index(data, position)
    if count >= len(data) - position:
        raise Unknown("it is cut off")
    labels = []
    for _ in range(count + 1):
        label, position = read_index(data, position)
        labels.append(label)
    return labels, position


def _past_block_type(data: bytes, position: int) -> int:
    first = data[position]
    if first & 0xC0 == 0x40:
        # One byte, never more: what reads on takes longer spellings of the same number for it.
        if first not in _BLOCK_TYPES:
            raise Unknown("a block has a type that is not known")
        return position + 1
    after = _PAST_33(data, position)
    if data[after - 1] & 0x40:
        raise Unknown("a block has a type that is not known")
    return after


def _past_types(data: bytes, position: int) -> int:
    count, position = read_index(data, position)
    if not set(data[position : position + count]) <= _VALUES:
        raise Unknown("a type that is not known")
    return position + count


def _past_reference(data: bytes, position: int) -> int:
    if data[position] not in (FUNCREF, EXTERNREF):
        raise Unknown("a reference of a type that is not known")
    return position + 1


def _past_memory_argument(data: bytes, position: int) -> int:
    flags, position = read_index(data, position)
    if flags >= 64:
        raise Unknown("an access to another memory")
    return _PAST_32(data, position)


_VALUES: Final = frozenset((I32, I64, F32, F64, V128, FUNCREF, EXTERNREF))
_BLOCK_TYPES: Final = _VALUES | {EMPTY}
_PAST_32: Final = _past_leb(5)
_PAST_33: Final = _past_leb(5)
_PAST: Final[Mapping[str, Callable[[bytes, int], int]]] = {
    BLOCK_TYPE: _past_block_type,
    INDEX: _PAST_32,
    LABELS: lambda data, position: read_labels(data, position)[1],
    MEMORY_ARGUMENT: _past_memory_argument,
    SIGNED32: _PAST_32,
    SIGNED64: _past_leb(10),
    BYTES4: lambda _, position: position + 4,
    BYTES8: lambda _, position: position + 8,
    BYTES16: lambda _, position: position + 16,
    LANE: lambda _, position: position + 1,
    TYPES: _past_types,
    REFERENCE: _past_reference,
}


def read(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """The code of the instruction at `position`, where its immediates begin, and where they end.

    Raises :exc:`Unknown` for what the table does not hold and for what goes beyond `end`.
    """
    try:
        code = data[position]
        position += 1
        if code in (MISCELLANEOUS, VECTOR):
            number, position = read_index(data, position)
            code = code << 16 | number
        known = INSTRUCTIONS.get(code)
        if known is None:
            raise Unknown(f"an instruction that is not known: {code:#x}")
        after = position
        for kind in known.immediates:
            after = _PAST[kind](data, after)
    except IndexError:
        raise Unknown("code is cut off") from None
    if after > end:
        raise Unknown("code is cut off")
    return code, position, after


class Locals(NamedTuple):
    """The declaration of locals at the beginning of a function's body."""

    groups: int
    start: int
    """Where the first group begins."""
    declared: int
    """How many locals are declared, parameters not among them."""
    code: int
    """Where the code begins."""


def read_locals(data: bytes, position: int) -> Locals:
    """Those of the body at `position`. Raises :exc:`Unknown` for types that the table's instructions do not work on."""
    try:
        groups, start = read_index(data, position)
        count, position = 0, start
        for _ in range(groups):
            more, position = read_index(data, position)
            if data[position] not in _VALUES:
                raise Unknown("a local of a type that is not known")
            count += more
            position += 1
    except IndexError:
        raise Unknown("code is cut off") from None
    return Locals(groups, start, count, position)


def parameters(kinds: bytes) -> int:
    """How many parameters a type's `kinds` are. Raises :exc:`Unknown` as :func:`read_locals` does."""
    if not _VALUES.issuperset(kinds):
        raise Unknown("a parameter of a type that is not known")
    return len(kinds)


# --- reading many at once -------------------------------------------------------------------------------------------

_LEB32: Final = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_PATTERNS: Final[Mapping[str, bytes]] = {
    BLOCK_TYPE: rb"(?:[\x40\x6f\x70\x7b-\x7f]|[\x00-\x3f])",
    INDEX: _LEB32,
    MEMORY_ARGUMENT: rb"[\x00-\x3f]" + _LEB32,
    SIGNED32: _LEB32,
    SIGNED64: rb"[\x80-\xff]{0,9}[\x00-\x7f]",
    BYTES4: rb".{4}",
    BYTES8: rb".{8}",
    BYTES16: rb".{16}",
    LANE: rb".",
    REFERENCE: rb"[\x6f\x70]",
}
"""Of the spellings that compilers use; what is spelled otherwise is left to :func:`read`."""


def pattern(codes: Iterable[int]) -> bytes:
    """A regular expression, for :data:`re.DOTALL`, that matches one instruction of `codes` from its first byte on."""
    by_immediates: dict[tuple[int, str], list[int]] = {}
    for code in codes:
        by_immediates.setdefault((code >> 16, INSTRUCTIONS[code].immediates), []).append(code & 0xFFFF)
    alternatives = []
    for (prefix, immediates), numbers in by_immediates.items():
        head = bytes((prefix,)) + _number_of(numbers) if prefix else _one_of(numbers)
        alternatives.append(head + b"".join(_PATTERNS[kind] for kind in immediates))
    return b"(?:" + b"|".join(alternatives) + b")"


def _one_of(values: Iterable[int]) -> bytes:
    return b"[" + re.escape(bytes(sorted(values))) + b"]"


def _number_of(numbers: Iterable[int]) -> bytes:
    """The LEB128 of numbers below 2^14, as short as it can be."""
    short = [number for number in numbers if number < 0x80]
    by_end: dict[int, list[int]] = {}
    for number in numbers:
        if number >= 0x80:
            by_end.setdefault(number >> 7, []).append(number & 0x7F | 0x80)
    parts = [_one_of(short)] if short else []
    parts += [_one_of(first) + _one_of([last]) for last, first in by_end.items()]
    return b"(?:" + b"|".join(parts) + b")"
