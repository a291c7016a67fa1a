"""Rewrites a module so that engines without limits of their own hold to them, and so that NaNs are canonical.

For engines that neither limit a memory at run time nor make NaN bits canonical. In what comes out

- each ``memory.grow`` calls a function that compares with a limit in an exported global, which the engine's side sets
  before code of the module runs, and that notes in another one that the limit refused a growth (:data:`BY_LIMIT`), or
  that the engine did although the limit allowed it (:data:`BY_MACHINE`): then the code stops there;
- there is no start section: the function is exported, to be called after the limit is set;
- what floating-point arithmetic gives is replaced by the canonical NaN where it is one, as Cranelift does it;
- a table can grow to :data:`TABLE_ELEMENTS` at most;
- table and memory indices have the shortest encoding, which some interpreters insist on.

The module has to be valid. Source: the WebAssembly core specification, chapter 5 (binary format).
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import asdict, dataclass
from typing import Final

from . import instructions, modules
from .binary import (
    CODE,
    EXPORT,
    FUNCTION,
    GLOBAL,
    PAGE_BYTES,
    START,
    TABLE,
    TYPE,
    export_item,
    join,
    read_limits,
    read_unsigned,
    sections,
    signed,
    unsigned,
    with_items,
)
from .engine import Ending, Limits, Refused
from .instructions import (
    BR,
    BR_IF,
    CALL,
    F32,
    F64,
    GLOBAL_SET,
    I32,
    I64,
    INDEX,
    INSTRUCTIONS,
    LOCAL_GET,
    MEMORY_GROW,
    RETURN_CALL,
    V128,
    VECTOR,
    Unknown,
)

TABLE_ELEMENTS: Final = 1 << 18
"""Most elements of one table: what the other engines allow."""
BY_LIMIT: Final = 1
BY_MACHINE: Final = 2
"""Who refused a growth: the run's limit, or the engine for want of the machine's memory."""
_PAGES: Final = 65536


@dataclass(frozen=True)
class Instrumented:
    """A rewritten module, and the names and numbers that its user needs."""

    module: bytes
    pages: int
    """What its memory has at the start."""
    elements: int
    """What the largest of its tables has at the start."""
    limit: str
    """Exported global, i64: pages that the memory may have. Zero until it is set."""
    refused: str
    """Exported global, i32: 0 until a growth within the declared maximum is refused, then by whom."""
    start: str | None
    """Exported function, to be called once before anything else."""
    trap: str | None = None
    """In which trap instantiating it is known to end."""

    def too_large(self, limits: Limits) -> Ending | None:
        """How a run under `limits` ends before it begins, where the module has more at the start than they allow."""
        if self.elements > TABLE_ELEMENTS:
            return Ending(instantiated=False, error="its table is larger than the limit")
        if self.pages > limits.memory_bytes // PAGE_BYTES:
            return Ending(instantiated=False, refused_memory=True, error="more memory than the limit at the start")
        return None

    def encoded(self) -> bytes:
        """In one piece."""
        facts = {name: value for name, value in asdict(self).items() if name != "module"}
        return json.dumps(facts).encode() + b"\n" + self.module

    @staticmethod
    def decoded(content: bytes) -> Instrumented:
        """Raises :exc:`ValueError` for what :meth:`encoded` did not write."""
        head, end, module = content.partition(b"\n")
        if not end:
            raise ValueError("not an instrumented module")
        try:
            return Instrumented(module=module, **json.loads(head))
        except TypeError as error:
            raise ValueError(f"not an instrumented module: {error}") from None


def instrument(module: bytes) -> Instrumented:
    """Rewrite `module`, which the caller has found valid and to have one memory.

    Raises :exc:`Refused` where code holds an instruction that :mod:`.instructions` does not.
    """
    try:
        return _Rewriting(module).result()
    except Unknown as reason:
        raise Refused(f"it cannot be rewritten: {reason}") from None


class _Rewriting:
    def __init__(self, module: bytes) -> None:
        self.sections = {kind: content for kind, content in sections(module) if kind}
        self.parsed = modules.parse(module)
        imported = [wanted.kind for wanted in self.parsed.imports]
        self.functions = imported.count(modules.FUNCTION) + len(self.parsed.functions)
        self.globals = imported.count(modules.GLOBAL) + self._items(GLOBAL)[0]
        if TABLE in self.sections:
            self.sections[TABLE] = self._capped_tables(self.sections[TABLE])

    def _items(self, kind: int) -> tuple[int, int]:
        """The count of a section's items, and where they begin."""
        return read_unsigned(self.sections.get(kind, b"\0"), 0)

    def _capped_tables(self, content: bytes) -> bytes:
        count, position = read_unsigned(content, 0)
        out = bytearray(unsigned(count))
        for _ in range(count):
            kind = content[position]
            minimum, maximum, position = read_limits(content, position + 1)
            most = max(minimum, TABLE_ELEMENTS if maximum is None else min(maximum, TABLE_ELEMENTS))
            out += bytes((kind, 1)) + unsigned(minimum) + unsigned(most)
        return bytes(out)

    def result(self) -> Instrumented:
        (memory,) = self.parsed.memories
        limit, refused, start = (self._unused(f"plasm:{name}") for name in ("limit", "refused", "start"))
        limit_index, refused_index = self.globals, self.globals + 1
        exports = [export_item(limit, 3, limit_index), export_item(refused, 3, refused_index)]
        first = self.sections.pop(START, None)
        if first is not None:
            exports.append(export_item(start, 0, read_unsigned(first, 0)[0]))
        self._append(TYPE, b"\x60\x01\x7f\x01\x7f")
        self._append(FUNCTION, unsigned(len(self.parsed.types)))
        self._append(GLOBAL, bytes((I64, 1, 0x42, 0, 0x0B)), bytes((I32, 1, 0x41, 0, 0x0B)))
        self._append(EXPORT, *exports)
        bodies = self._bodies()
        bodies.append(_grow_body(limit_index, refused_index, _PAGES if memory.maximum is None else memory.maximum))
        self.sections[CODE] = unsigned(len(bodies)) + b"".join(unsigned(len(body)) + body for body in bodies)
        return Instrumented(
            module=join(self.sections),
            pages=memory.minimum,
            elements=max((table.minimum for table in self.parsed.tables), default=0),
            limit=limit,
            refused=refused,
            start=start if first is not None else None,
        )

    def _unused(self, name: str) -> str:
        while name in self.parsed.exports:
            name += "'"
        return name

    def _append(self, kind: int, *items: bytes) -> None:
        self.sections[kind] = with_items(self.sections.get(kind, b""), *items)

    def _bodies(self) -> list[bytes]:
        count, position = self._items(CODE)
        content = self.sections.get(CODE, b"")
        bodies = []
        for index in self.parsed.functions[:count]:
            size, position = read_unsigned(content, position)
            parameters = instructions.parameters(self.parsed.types[index][0])
            bodies.append(_Body(content, position, position + size, parameters, self.functions).rewritten())
            position += size
        return bodies


def _grow_body(limit: int, refused: int, most: int) -> bytes:
    """``(func (param i32) (result i32) (local i64 i32))``; see the module's text."""
    code = bytes.fromhex("02 01 7e 01 7f")
    code += bytes.fromhex("3f 00 ad 20 00 ad 7c 22 01") + b"\x42" + signed(most) + b"\x56"  # total > most
    code += bytes.fromhex("04 40 41 7f 0f 0b")  # if: return -1
    code += b"\x20\x01\x23" + unsigned(limit) + b"\x58"  # total <= limit
    code += bytes.fromhex("04 40 20 00 40 00 22 02 41 7f 47 04 40 20 02 0f 0b")  # if it grows: return the old size
    code += b"\x41" + signed(BY_MACHINE) + b"\x24" + unsigned(refused) + b"\x00\x0b"  # else stop here
    code += b"\x41" + signed(BY_LIMIT) + b"\x24" + unsigned(refused) + bytes.fromhex("41 7f 0b")
    return code


# --- code -----------------------------------------------------------------------------------------------------------

_F32_ARITHMETIC: Final = frozenset((*range(0x8D, 0x98), 0xB6))
_F64_ARITHMETIC: Final = frozenset((*range(0x9B, 0xA6), 0xBB))
_LANES_F32: Final = frozenset(VECTOR << 16 | number for number in (0x5E, *range(0x67, 0x6B), 0xE3, *range(0xE4, 0xEA)))
_LANES_F64: Final = frozenset(
    VECTOR << 16 | number for number in (0x5F, 0x74, 0x75, 0x7A, 0x94, 0xEF, *range(0xF0, 0xF6))
)
_CHANGED: Final = _F32_ARITHMETIC | _F64_ARITHMETIC | _LANES_F32 | _LANES_F64 | {MEMORY_GROW}
_KEEP_INDEX: Final = (BR, BR_IF, CALL, RETURN_CALL, *range(LOCAL_GET, GLOBAL_SET + 1))
"""Whose index may be longer than it need be."""
_ALIKE: Final = re.compile(
    instructions.pattern(
        code
        for code, instruction in INSTRUCTIONS.items()
        if code in _KEEP_INDEX or (code not in _CHANGED and instruction.immediates in ("", *"b4iImw"))
    )
    + rb"{1,2000}",
    re.DOTALL,
)
"""A run of instructions that stay as they are; a bounded number, so that matching takes bounded memory. Whatever this
does not match is read one by one, so that it may match less than there is and never more."""

_NANS: Final = {
    F32: b"\x43" + struct.pack("<I", 0x7FC00000),
    F64: b"\x44" + struct.pack("<Q", 0x7FF8000000000000),
}
_EQUAL: Final = {F32: b"\x5b", F64: b"\x61"}


class _Body:
    """One function's locals and code."""

    def __init__(self, content: bytes, position: int, end: int, parameters: int, grow: int) -> None:
        self.content = content
        self.end = end
        self.grow = grow
        self.declared = instructions.read_locals(content, position)
        self.locals = parameters + self.declared.declared
        self.added: dict[int, int] = {}
        self.out = bytearray()

    def rewritten(self) -> bytes:
        content, end, out = self.content, self.end, self.out
        position = self.declared.code
        while position < end:
            run = _ALIKE.match(content, position, end)
            if run is None:
                position = self._one(position)
            else:
                out += run.group()
                position = run.end()
        groups, start, _, code = self.declared
        added = b"".join(bytes((1, kind)) for kind in self.added)
        return unsigned(groups + len(self.added)) + content[start:code] + added + bytes(out)

    def _one(self, position: int) -> int:
        """Write the instruction at `position` as it is to be; returns where the next one begins."""
        out = self.out
        code, immediates, after = instructions.read(self.content, position, self.end)
        if code == MEMORY_GROW:
            out += bytes((CALL,)) + unsigned(self.grow)
            return after
        if code >> 16:
            out += bytes((code >> 16,)) + unsigned(code & 0xFFFF)
        else:
            out.append(code)
        if set(INSTRUCTIONS[code].immediates) == {INDEX}:
            while immediates < after:
                value, immediates = read_unsigned(self.content, immediates)
                out += unsigned(value)
        else:
            out += self.content[immediates:after]
        if code in _F32_ARITHMETIC:
            self._canonical(F32)
        elif code in _F64_ARITHMETIC:
            self._canonical(F64)
        elif code in _LANES_F32:
            self._canonical_lanes(_NANS[F32][1:] * 4, b"\xfd\x41")
        elif code in _LANES_F64:
            self._canonical_lanes(_NANS[F64][1:] * 2, b"\xfd\x47")
        return after

    def _local(self, kind: int) -> bytes:
        return unsigned(self.added.setdefault(kind, self.locals + len(self.added)))

    def _canonical(self, kind: int) -> None:
        mine = self._local(kind)
        self.out += b"\x22" + mine + _NANS[kind] + b"\x20" + mine + b"\x20" + mine + _EQUAL[kind] + b"\x1b"

    def _canonical_lanes(self, nans: bytes, equal: bytes) -> None:
        mine = self._local(V128)
        self.out += b"\x22" + mine + b"\xfd\x0c" + nans + b"\x20" + mine + b"\x20" + mine + equal + b"\xfd\x52"
