"""A module's binary format as far as cells must know it without an engine: what it imports, exports and declares.

Source: the WebAssembly core specification, 5.5 (modules); the proposals for threads, 64-bit memories and exceptions
for the flags and kinds that they add. What is read here is checked against the bytes that are there; whether the rest
is valid is for the engine to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from . import binary, instructions
from .binary import PREAMBLE
from .engine import Refused
from .instructions import BLOCK, END, IF, INSTRUCTIONS, LOOP, Unknown
from .wasi import FUNCTIONS, MODULE

FUNCTION, TABLE, MEMORY, GLOBAL, TAG = range(5)
_FUNCTION_TYPE = 0x60
_REFERENCES = (0x63, 0x64)
_TABLE_WITH_INITIALIZER = 0x40
_I32, _I64 = 0x7F, 0x7E
_HAS_MAXIMUM, _SHARED, _WIDE = 1, 2, 4
_VALUES = {"i": _I32, "I": _I64}
_TAG_SECTION = 13
_MOST_ITEMS: Final = 250_000
"""Of any section, the same for all engines, so that none runs what another calls invalid. wasmtime takes a million
functions, but needs more memory for so many than nodes give to compiling."""
_MOST_SEGMENTS: Final = 100_000
"""Of the table or the memory. As wasmtime has it."""
_ITEMS: Final = {
    binary.TYPE: (_MOST_ITEMS, "types"),
    binary.IMPORT: (_MOST_ITEMS, "imports"),
    binary.FUNCTION: (_MOST_ITEMS, "functions"),
    binary.GLOBAL: (_MOST_ITEMS, "globals"),
    binary.EXPORT: (_MOST_ITEMS, "exports"),
    binary.ELEMENT: (_MOST_SEGMENTS, "element segments"),
    binary.DATA: (_MOST_SEGMENTS, "data segments"),
}
_MOST_PARAMETERS: Final = 1000
"""And as many results. As wasmtime has it."""
_MOST_NAME_BYTES: Final = 100_000
"""As wasmtime has it."""
_MOST_BODY_BYTES: Final = 7_654_321
"""Of one function. As wasmtime has it."""
_DEEPEST: Final = 10_000
"""Blocks in each other. Some engines compile one by calling themselves, and programs have some hundreds."""


@dataclass(frozen=True)
class Limits:
    """Of a memory (pages of 64 KiB) or a table (elements)."""

    flags: int
    minimum: int
    maximum: int | None


@dataclass(frozen=True)
class Import:
    """One import; `kind` is :data:`FUNCTION` and so on, `type_index` that of a function's type."""

    module: str
    name: str
    kind: int
    type_index: int = -1


@dataclass(frozen=True)
class Module:
    """What a module says of itself. `types` holds parameters and results as the format's bytes."""

    types: tuple[tuple[bytes, bytes], ...]
    imports: tuple[Import, ...]
    functions: tuple[int, ...]
    """Type indices of the functions that it defines."""
    tables: tuple[Limits, ...]
    memories: tuple[Limits, ...]
    exports: Mapping[str, tuple[int, int]]
    """Name → kind and index."""
    starts: bool
    """Whether instantiating it runs code of its own."""
    throws: bool
    """Whether it has tags, as exception handling needs them."""

    def signature(self, function: int) -> tuple[bytes, bytes]:
        """Of the function with that index, imported ones first. Raises :exc:`Refused`."""
        kinds = [item.type_index for item in self.imports if item.kind == FUNCTION]
        try:
            index = kinds[function] if function < len(kinds) else self.functions[function - len(kinds)]
            return self.types[index]
        except IndexError:
            raise _invalid("a function or a type is missing") from None


def parse(content: bytes) -> Module:
    """Read `content`. Raises :exc:`Refused` for what is cut off, malformed, or of a proposal that no cell runs."""
    types: list[tuple[bytes, bytes]] = []
    imports: list[Import] = []
    functions: list[int] = []
    tables: list[Limits] = []
    memories: list[Limits] = []
    exports: dict[str, tuple[int, int]] = {}
    starts = False
    throws = False
    for kind, section in _sections(content):
        most, items = _ITEMS.get(kind, (None, ""))
        if most is not None and section.peek_number() > most:
            raise Refused(f"it has more than {most} {items}")
        if kind == binary.TYPE:
            types += [_function_type(section) for _ in section.count()]
        elif kind == binary.IMPORT:
            imports += [_import(section) for _ in section.count()]
        elif kind == binary.FUNCTION:
            functions += [section.number() for _ in section.count()]
        elif kind == binary.TABLE:
            tables += _tables(section)
        elif kind == binary.MEMORY:
            memories += [_memory_limits(section) for _ in section.count()]
        elif kind == binary.EXPORT:
            for _ in section.count():
                name = section.name()
                exports[name] = section.byte(), section.number()
        elif kind == binary.START:
            starts = True
        elif kind == binary.CODE:
            _check_bodies(section)
        elif kind == _TAG_SECTION:
            throws = True
        elif kind > _TAG_SECTION:
            raise _invalid("a section is of a kind that is not known")
    throws = throws or any(wanted.kind == TAG for wanted in imports)
    if len(memories) > 1:
        raise Refused("it has more than one memory, which no cell gives it")
    return Module(
        tuple(types), tuple(imports), tuple(functions), tuple(tables), tuple(memories), exports, starts, throws
    )


def check(content: bytes) -> Module:
    """What :func:`parse` finds, if it is a command of WASI preview 1. Raises :exc:`Refused`."""
    module = parse(content)
    for wanted in module.imports:
        if wanted.module != MODULE:
            raise Refused(f"it imports {_quoted(wanted.name)} from {_quoted(wanted.module)}; only {MODULE} is provided")
        parameters = FUNCTIONS.get(wanted.name)
        if parameters is None or wanted.kind != FUNCTION:
            raise Refused(f"it imports {_quoted(wanted.name)} from {MODULE}, which has no such function")
        expected = bytes(map(_VALUES.__getitem__, parameters)), b"" if wanted.name == "proc_exit" else bytes([_I32])
        if not 0 <= wanted.type_index < len(module.types) or module.types[wanted.type_index] != expected:
            raise Refused(f"it imports {_quoted(wanted.name)} from {MODULE} with another signature")
    kind, index = module.exports.get("_start", (-1, 0))
    if kind != FUNCTION:
        raise Refused("it exports no function _start: only WASI commands run, neither libraries nor reactors")
    if module.signature(index) != (b"", b""):
        raise Refused("its function _start has parameters or results")
    if module.exports.get("memory", (-1, 0))[0] != MEMORY:
        raise Refused("it exports no memory named 'memory', as a WASI command must")
    return module


class _Section:
    """Reads one section and nothing beyond its end."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self.position = 0

    def since(self, begin: int) -> bytes:
        return bytes(self._content[begin : self.position])

    def byte(self) -> int:
        if self.position >= len(self._content):
            raise _invalid("a section is too short")
        value = self._content[self.position]
        self.position += 1
        return value

    def number(self, bits: int = 32) -> int:
        """An unsigned number in LEB128."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise _invalid("a number is too long")
        if value >> bits:
            raise _invalid("a number is too large")
        return value

    def count(self) -> Iterator[int]:
        """As many items as the next number says: each takes a byte at least."""
        count = self.number()
        if count > len(self._content) - self.position:
            raise _invalid("a section is too short")
        return iter(range(count))

    def take(self, count: int) -> bytes:
        if count > len(self._content) - self.position:
            raise _invalid("a section is too short")
        self.position += count
        return bytes(self._content[self.position - count : self.position])

    def peek_number(self) -> int:
        """The number at the beginning, which stays there; 0 where there is none."""
        position, self.position = self.position, 0
        try:
            return self.number() if self._content else 0
        finally:
            self.position = position

    def name(self) -> str:
        size = self.number()
        if size > _MOST_NAME_BYTES:
            raise _invalid("a name is too long")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise _invalid("a name is not UTF-8") from None

    def value_type(self) -> bytes:
        begin = self.position
        if self.byte() in _REFERENCES:
            self.number(40)
        return self.since(begin)

    def limits(self) -> Limits:
        flags = self.byte()
        bits = 64 if flags & _WIDE else 32
        minimum = self.number(bits)
        return Limits(flags, minimum, self.number(bits) if flags & _HAS_MAXIMUM else None)


def _sections(content: bytes) -> Iterator[tuple[int, _Section]]:
    if not content.startswith(PREAMBLE):
        raise Refused("not a WebAssembly module")
    view = memoryview(content)
    whole = _Section(view[len(PREAMBLE) :])
    seen = set()
    while whole.position < len(view) - len(PREAMBLE):
        kind = whole.byte()
        size = whole.number()
        begin = len(PREAMBLE) + whole.position
        if size > len(view) - begin:
            raise _invalid("a section is cut off")
        if kind and kind in seen:
            raise _invalid("a section comes twice")
        seen.add(kind)
        whole.position += size
        yield kind, _Section(view[begin : begin + size])


def _function_type(section: _Section) -> tuple[bytes, bytes]:
    if section.byte() != _FUNCTION_TYPE:
        raise Refused("it has types of structures or arrays, which no cell gives it")
    sides = []
    for side in ("parameters", "results"):
        kinds = [section.value_type() for _ in section.count()]
        if len(kinds) > _MOST_PARAMETERS:
            raise Refused(f"it has a function type with more than {_MOST_PARAMETERS} {side}")
        sides.append(b"".join(kinds))
    return sides[0], sides[1]


_STRUCTURE: Final = (BLOCK, LOOP, IF, END)
_SHALLOW: Final = re.compile(
    instructions.pattern(
        code
        for code, instruction in INSTRUCTIONS.items()
        if code not in _STRUCTURE and not set("lt") & set(instruction.immediates)
    )
    + rb"{1,2000}",
    re.DOTALL,
)
"""Instructions that neither begin nor end a block; a bounded number, so that matching takes bounded memory."""


def _check_bodies(section: _Section) -> None:
    for _ in section.count():
        size = section.number()
        if size > _MOST_BODY_BYTES:
            raise Refused(f"it has a function of more than {_MOST_BODY_BYTES} bytes")
        body = section.take(size)
        if sum(map(body.count, (b"\x02", b"\x03", b"\x04"))) > _DEEPEST and _depth(body) > _DEEPEST:
            raise Refused(f"it has more than {_DEEPEST} blocks in each other")


def _depth(body: bytes) -> int:
    """How many blocks are in each other, as far as the instructions are known: where not, the engine decides."""
    deepest = depth = 0
    try:
        position = instructions.read_locals(body, 0).code
        while position < len(body):
            run = _SHALLOW.match(body, position)
            if run is not None:
                position = run.end()
                continue
            code, _, position = instructions.read(body, position, len(body))
            if code == END:
                depth -= 1
            elif code in _STRUCTURE:
                depth += 1
                deepest = max(deepest, depth)
                if deepest > _DEEPEST:
                    break
    except Unknown:
        pass
    return deepest


def _import(section: _Section) -> Import:
    module, name, kind = section.name(), section.name(), section.byte()
    if kind == FUNCTION:
        return Import(module, name, kind, section.number())
    if kind == TABLE:
        section.value_type()
        section.limits()
    elif kind == MEMORY:
        _memory_limits(section)
    elif kind == GLOBAL:
        section.value_type()
        section.byte()
    elif kind == TAG:
        section.byte()
        section.number()
    else:
        raise _invalid("an import of an unknown kind")
    return Import(module, name, kind)


def _tables(section: _Section) -> Iterator[Limits]:
    for _ in section.count():
        begin = section.position
        initialized = section.byte() == _TABLE_WITH_INITIALIZER
        if initialized:
            section.byte()
        else:
            section.position = begin
        section.value_type()
        yield section.limits()
        if initialized:
            # Its length is not written down; the tables behind it are not looked at.
            return


def _memory_limits(section: _Section) -> Limits:
    limits = section.limits()
    if limits.flags & _SHARED:
        raise Refused("it shares a memory, and no cell runs threads")
    if limits.flags & _WIDE:
        raise Refused("it has a 64-bit memory (memory64), which no cell gives it")
    if limits.flags & ~_HAS_MAXIMUM:
        raise Refused("it has a memory of a kind that no cell gives it")
    return limits


def _invalid(reason: str) -> Refused:
    return Refused(f"not a valid WebAssembly module: {reason}")


def _quoted(name: str) -> str:
    return repr(name[:80])
