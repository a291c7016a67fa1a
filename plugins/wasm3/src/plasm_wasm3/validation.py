"""Checks a whole module before the engine sees it.

wasm3 compiles what it is given and checks little of it: code with wrong types would read and write beyond its stack.
This takes what is valid and within what wasm3 can do: version 1 with sign extension, saturating conversions, multiple
values and ``memory.copy`` and ``memory.fill``. Source: the WebAssembly core specification, 3.4 and 5.5 (modules).
"""

from __future__ import annotations

from typing import Final

from plasm_cell.instructions import F32, F64, I32, I64

from .binary import Invalid, Reader
from .code import VALUES, Context, check_code

_PREAMBLE: Final = b"\0asm\1\0\0\0"
_ORDER: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 13: 6, 6: 7, 7: 8, 8: 9, 9: 10, 12: 11, 10: 12, 11: 13}
_PAGES: Final = 65536
_FUNCREF: Final = 0x70
TABLE_ELEMENTS: Final = 100_000
"""More wasm3 does not take."""
_EXPRESSIONS: Final = 4
_ACTIVE: Final = (0, 2, _EXPRESSIONS)
"""Forms of element segments that fill the table when the module is instantiated."""
_CONSTANTS: Final = {0x41: I32, 0x42: I64, 0x43: F32, 0x44: F64}


class Validation:
    """The facts of a module that is in order."""

    def __init__(self, module: bytes) -> None:
        """Raises :exc:`Invalid`."""
        if not module.startswith(_PREAMBLE):
            raise Invalid("it is no module of version 1")
        self.context = Context()
        self.table_elements = 0
        self.segments: list[tuple[int, tuple[int, ...]]] = []
        """Of the table: where each begins, and its functions."""
        self._defined = 0
        self._bodies = 0
        self._data_count: int | None = None
        self._imported_globals = 0
        reader = Reader(module, len(_PREAMBLE), len(module))
        last = 0
        sections = {
            1: self._types, 2: self._imports, 3: self._functions, 4: self._tables, 5: self._memories, 6: self._globals,
            7: self._exports, 8: self._start, 9: self._elements, 10: self._code, 11: self._data, 12: self._data_counts,
        }  # fmt: skip
        while not reader.at_end:
            kind = reader.byte()
            content = reader.part()
            if kind == 0:
                content.name()
                continue
            if kind == 13:
                raise Invalid("it uses exception handling")
            if kind not in sections:
                raise Invalid(f"a section that is not known: {kind}")
            if _ORDER[kind] <= last:
                raise Invalid("its sections are out of order")
            last = _ORDER[kind]
            sections[kind](content)
            if not content.at_end:
                raise Invalid("a section goes on after its end")
        if self._defined != self._bodies:
            raise Invalid("it has more functions than bodies")
        if self._data_count:
            raise Invalid("it has fewer data segments than it says")

    def _types(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            if reader.byte() != 0x60:
                raise Invalid("it uses garbage collection")
            self.context.types.append((self._values(reader), self._values(reader)))

    def _values(self, reader: Reader) -> tuple[int, ...]:
        kinds = tuple(reader.take(reader.unsigned()))
        if not VALUES.issuperset(kinds):
            raise Invalid("it uses SIMD or reference types")
        return kinds

    def _imports(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            reader.name()
            reader.name()
            if reader.byte() != 0:
                raise Invalid("it imports something else than functions")
            self.context.functions.append(self._type(reader))

    def _type(self, reader: Reader) -> int:
        index = reader.unsigned()
        if index >= len(self.context.types):
            raise Invalid("a type that is not there")
        return index

    def _functions(self, reader: Reader) -> None:
        self._defined = reader.count()
        for _ in range(self._defined):
            self.context.functions.append(self._type(reader))

    def _limits(self, reader: Reader, most: int) -> int:
        flags = reader.byte()
        if flags > 1:
            raise Invalid("it uses threads or 64-bit memories")
        minimum = reader.unsigned()
        maximum = reader.unsigned() if flags else most
        if not minimum <= maximum <= most:
            raise Invalid("a size is out of range")
        return minimum

    def _tables(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            if reader.byte() != _FUNCREF:
                raise Invalid("it uses reference types")
            self.table_elements = self._limits(reader, (1 << 32) - 1)
            self.context.tables += 1
            if self.context.tables > 1:
                raise Invalid("it has more than one table")

    def _memories(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            self._limits(reader, _PAGES)
            self.context.memories += 1
            if self.context.memories > 1:
                raise Invalid("it has more than one memory")

    def _constant(self, reader: Reader, wanted: int) -> int | None:
        """The value of a constant expression, where it is an integer."""
        operation = reader.byte()
        value = None
        if operation == 0x23:
            # Only imported globals, and there are none.
            raise Invalid("a constant refers to a global")
        if _CONSTANTS.get(operation) != wanted:
            raise Invalid("a constant has another type, or is more than one instruction")
        if operation in (0x41, 0x42):
            value = reader.signed(32 if operation == 0x41 else 64)
        else:
            reader.take(4 if operation == 0x43 else 8)
        if reader.byte() != 0x0B:
            raise Invalid("a constant is more than one instruction")
        return value

    def _globals(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            kind, mutable = reader.byte(), reader.byte()
            if kind not in VALUES:
                raise Invalid("it uses SIMD or reference types")
            if mutable > 1:
                raise Invalid("a global is neither constant nor variable")
            self._constant(reader, kind)
            self.context.globals.append((kind, bool(mutable)))

    def _exports(self, reader: Reader) -> None:
        context = self.context
        counts = (len(context.functions), context.tables, context.memories, len(context.globals))
        names = set()
        for _ in range(reader.count()):
            name, kind, index = reader.name(), reader.byte(), reader.unsigned()
            if kind >= len(counts) or index >= counts[kind]:
                raise Invalid("it exports what is not there")
            if name in names:
                raise Invalid("it exports a name twice")
            names.add(name)

    def _start(self, reader: Reader) -> None:
        if self.context.types[self.context.functions[self._function(reader)]] != ((), ()):
            raise Invalid("its start function has parameters or results")

    def _function(self, reader: Reader) -> int:
        index = reader.unsigned()
        if index >= len(self.context.functions):
            raise Invalid("a function that is not there")
        return index

    def _elements(self, reader: Reader) -> None:
        for _ in range(reader.count()):
            form = reader.unsigned()
            if form == 2 and reader.unsigned():
                raise Invalid("a table that is not there")
            if form not in _ACTIVE:
                raise Invalid("it uses passive element segments or reference types")
            if not self.context.tables:
                raise Invalid("it uses a table that is not there")
            offset = (self._constant(reader, I32) or 0) & 0xFFFFFFFF
            if form == 2 and reader.byte():
                raise Invalid("an element segment is of a kind that is not known")
            functions = tuple(self._element(reader, form) for _ in range(reader.count()))
            self.segments.append((offset, functions))

    def _element(self, reader: Reader, form: int) -> int:
        if form != _EXPRESSIONS:
            return self._function(reader)
        if reader.byte() != 0xD2:
            raise Invalid("it uses reference types")
        index = self._function(reader)
        if reader.byte() != 0x0B:
            raise Invalid("a constant is more than one instruction")
        return index

    def _data_counts(self, reader: Reader) -> None:
        self._data_count = reader.unsigned()

    def _code(self, reader: Reader) -> None:
        self._bodies = reader.unsigned()
        if self._bodies != self._defined:
            raise Invalid("it has more functions than bodies, or fewer")
        first = len(self.context.functions) - self._defined
        for number in range(self._bodies):
            self._body(first + number, reader.part())

    def _body(self, function: int, body: Reader) -> None:
        check_code(self.context, function, body)

    def _data(self, reader: Reader) -> None:
        count = reader.count()
        if self._data_count not in (None, count):
            raise Invalid("it has another number of data segments than it says")
        self._data_count = None
        for _ in range(count):
            if reader.unsigned():
                raise Invalid("it uses passive data segments")
            if not self.context.memories:
                raise Invalid("it uses a memory that is not there")
            self._constant(reader, I32)
            reader.take(reader.unsigned())
