"""A module as a tree that can be generated, made smaller, and written down as bytes and as text."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from plasm_cell.binary import PREAMBLE, signed, unsigned

from .instructions import BLOCKS, CODES, F32, F64, I32, INDEXED, LOADS, OTHERS, PLAIN, STORES, Kinds

Node = tuple[Any, ...]
"""An instruction's name and its immediates. Floats are their bits. Those of a block are its type and its instructions,
and for ``if`` those of its other branch; ``br_table`` has its labels and the default one, ``call_indirect`` a type."""
BlockType = tuple[Kinds, Kinds]

WRITE, EXIT = 0, 1
"""The indices of the imported functions."""
IMPORTS: Final = (("fd_write", (I32, I32, I32, I32), (I32,)), ("proc_exit", (I32,), ()))
_FLOAT_BITS: Final = {F32: ("<I", b"\x43"), F64: ("<Q", b"\x44")}


@dataclass
class Function:
    """One function; `parameters` come first among its locals."""

    parameters: Kinds
    results: Kinds
    locals: list[str]
    body: list[Node]


@dataclass
class Module:
    """A command of WASI that imports two functions. The last function is ``_start``."""

    functions: list[Function] = field(default_factory=list)
    globals: list[tuple[str, int]] = field(default_factory=list)
    """The kind of each, and its value; a float's bits."""
    pages: tuple[int, int | None] = (1, None)
    table: tuple[int, int | None] | None = None
    elements: list[tuple[int, list[int]]] = field(default_factory=list)
    data: list[tuple[int, bytes]] = field(default_factory=list)
    starts: int | None = None
    """The function of the start section."""
    padding: int | None = None
    """Numbers are written longer than they need be, at places that follow from this."""

    def encoded(self) -> bytes:
        """The binary format."""
        return _Encoder(self).module()

    def as_text(self) -> str:
        """The text format, without folded instructions."""
        return _Text(self).module()

    def type_called(self, node: Node) -> BlockType:
        """Operands and results of an instruction that calls, but for the index of one that calls indirectly."""
        if node[0] == "call_indirect":
            return (*node[1][0], I32), node[1][1]
        if node[1] < len(IMPORTS):
            return IMPORTS[node[1]][1:]
        function = self.functions[node[1] - len(IMPORTS)]
        return function.parameters, function.results

    @property
    def size(self) -> int:
        """Instructions in all functions."""
        return sum(map(count, (function.body for function in self.functions)))


@dataclass
class Encoded(Module):
    """A module of which only the binary format is there."""

    content: bytes = b""

    def encoded(self) -> bytes:
        """See :meth:`Module.encoded`."""
        return self.content


def count(body: Sequence[Node]) -> int:
    """Instructions in `body` and in the blocks in it."""
    return sum(1 + sum(map(count, node[2:])) if node[0] in BLOCKS else 1 for node in body)


class _Encoder:
    def __init__(self, module: Module) -> None:
        self._module = module
        self._types: dict[BlockType, int] = {}
        self._random = None if module.padding is None else random.Random(module.padding)
        for _, parameters, results in IMPORTS:
            self._type((parameters, results))
        for function in module.functions:
            self._type((function.parameters, function.results))

    def _type(self, kinds: BlockType) -> int:
        return self._types.setdefault(kinds, len(self._types))

    def module(self) -> bytes:
        module = self._module
        # First, since it finds the types.
        code = [self._body(function) for function in module.functions]
        imports = [
            _name("wasi_snapshot_preview1") + _name(name) + b"\0" + unsigned(self._type((parameters, results)))
            for name, parameters, results in IMPORTS
        ]
        functions = [unsigned(self._type((each.parameters, each.results))) for each in module.functions]
        start = len(IMPORTS) + len(module.functions) - 1
        exports = [_name("_start") + b"\0" + unsigned(start), _name("memory") + b"\2\0"]
        parts = [
            _section(1, [b"\x60" + _kinds(given) + _kinds(made) for given, made in self._types]),
            _section(2, imports),
            _section(3, functions),
            b"" if module.table is None else _section(4, [b"\x70" + _limits(*module.table)]),
            _section(5, [_limits(*module.pages)]),
            _section(6, [self._global(kind, value) for kind, value in module.globals]),
            _section(7, exports),
            b"" if module.starts is None else b"\x08" + _sized(unsigned(module.starts)),
            _section(9, [self._element(offset, indices) for offset, indices in module.elements]),
            _section(10, code),
            _section(11, [b"\0\x41" + signed(offset) + b"\x0b" + _sized(content) for offset, content in module.data]),
        ]
        return PREAMBLE + b"".join(parts)

    @staticmethod
    def _element(offset: int, indices: Sequence[int]) -> bytes:
        return b"\0\x41" + signed(offset) + b"\x0b" + unsigned(len(indices)) + b"".join(map(unsigned, indices))

    def _global(self, kind: str, value: int) -> bytes:
        return bytes((CODES[kind], 1)) + _constant(kind, value) + b"\x0b"

    def _body(self, function: Function) -> bytes:
        groups: list[list[Any]] = []
        for kind in function.locals:
            if groups and groups[-1][1] == kind:
                groups[-1][0] += 1
            else:
                groups.append([1, kind])
        head = unsigned(len(groups)) + b"".join(unsigned(number) + bytes((CODES[kind],)) for number, kind in groups)
        out = bytearray()
        self._write(function.body, out)
        return _sized(head + bytes(out) + b"\x0b")

    def _number(self, value: int) -> bytes:
        return self._padded(unsigned(value), 0)

    def _padded(self, number: bytes, sign: int, most: int = 5) -> bytes:
        if self._random is None or self._random.random() > 0.1:
            return number
        fill = 0x7F if sign else 0
        more = self._random.randint(0, most - len(number))
        return (
            number[:-1] + bytes((number[-1] | 0x80,)) + bytes((fill | 0x80,)) * (more - 1) + bytes((fill,))
            if (more)
            else number
        )

    def _write(self, body: Sequence[Node], out: bytearray) -> None:
        plain = PLAIN
        for node in body:
            name = node[0]
            if (simple := plain.get(name)) is not None:
                out += simple.code
            elif name in INDEXED:
                out.append(INDEXED[name])
                out += self._number(node[1])
            elif name in OTHERS:
                out += OTHERS[name]
            else:
                self._write_other(node, out)

    def _write_other(self, node: Node, out: bytearray) -> None:
        name = node[0]
        if name in BLOCKS:
            out.append(BLOCKS[name])
            out += self._block_type(node[1])
            self._write(node[2], out)
            if name == "if" and node[3]:
                out.append(0x05)
                self._write(node[3], out)
            out.append(0x0B)
        elif name in LOADS or name in STORES:
            access = LOADS.get(name) or STORES[name]
            out.append(access.code)
            out += self._number(node[1]) + self._number(node[2])
        elif name == "br_table":
            out.append(0x0E)
            out += unsigned(len(node[1])) + b"".join(map(self._number, node[1])) + self._number(node[2])
        elif name == "call_indirect":
            out.append(0x11)
            out += self._number(self._type(node[1])) + b"\0"
        else:
            content = _constant(name[:3], node[1])
            if name[0] == "i":
                content = content[:1] + self._padded(content[1:], node[1] < 0, 5 if name[:3] == I32 else 10)
            out += content

    def _block_type(self, kinds: BlockType) -> bytes:
        given, made = kinds
        if given or len(made) > 1:
            return signed(self._type(kinds))
        return bytes((CODES[made[0]] if made else 0x40,))


def _constant(kind: str, value: int) -> bytes:
    if kind in _FLOAT_BITS:
        layout, code = _FLOAT_BITS[kind]
        return code + struct.pack(layout, value)
    return (b"\x41" if kind == I32 else b"\x42") + signed(value)


def _name(text: str) -> bytes:
    return _sized(text.encode())


def _kinds(kinds: Kinds) -> bytes:
    return _sized(bytes(CODES[kind] for kind in kinds))


def _limits(least: int, most: int | None) -> bytes:
    return b"\0" + unsigned(least) if most is None else b"\1" + unsigned(least) + unsigned(most)


def _sized(content: bytes) -> bytes:
    return unsigned(len(content)) + content


def _section(kind: int, items: Sequence[bytes]) -> bytes:
    return bytes((kind,)) + _sized(unsigned(len(items)) + b"".join(items)) if items else b""


class _Text:
    def __init__(self, module: Module) -> None:
        self._module = module

    def module(self) -> str:
        module = self._module
        lines = ["(module"]
        lines += [
            f'  (import "wasi_snapshot_preview1" "{name}" (func{_signature(parameters, results)}))'
            for name, parameters, results in IMPORTS
        ]
        if module.table is not None:
            lines.append(f"  (table {_bounds(*module.table)} funcref)")
        lines.append(f'  (memory (export "memory") {_bounds(*module.pages)})')
        lines += [f"  (global (mut {kind}) ({_constant_text(kind, value)}))" for kind, value in module.globals]
        if module.starts is not None:
            lines.append(f"  (start {module.starts})")
        for offset, indices in module.elements:
            lines.append(f"  (elem (i32.const {offset}) func {' '.join(map(str, indices))})")
        for offset, content in module.data:
            escaped = "".join(f"\\{byte:02x}" for byte in content)
            lines.append(f'  (data (i32.const {offset}) "{escaped}")')
        last = len(module.functions) - 1
        for number, function in enumerate(module.functions):
            export = ' (export "_start")' if number == last else ""
            lines.append(
                f"  (func (;{number + len(IMPORTS)};){export}{_signature(function.parameters, function.results)}"
            )
            if function.locals:
                lines.append(f"    (local {' '.join(function.locals)})")
            self._write(function.body, lines, "    ")
            lines[-1] += ")"
        return "\n".join(lines) + ")\n"

    def _write(self, body: Sequence[Node], lines: list[str], indent: str) -> None:
        for node in body:
            name = node[0]
            if name in BLOCKS:
                lines.append(f"{indent}{name}{_signature(*node[1])}")
                self._write(node[2], lines, indent + "  ")
                if name == "if" and node[3]:
                    lines.append(f"{indent}else")
                    self._write(node[3], lines, indent + "  ")
                lines.append(f"{indent}end")
            elif name in LOADS or name in STORES:
                lines.append(f"{indent}{name} offset={node[2]} align={1 << node[1]}")
            elif name == "br_table":
                lines.append(f"{indent}br_table {' '.join(map(str, (*node[1], node[2])))}")
            elif name == "call_indirect":
                lines.append(f"{indent}call_indirect{_signature(*node[1])}")
            elif name.endswith(".const"):
                lines.append(indent + _constant_text(name[:3], node[1]))
            else:
                lines.append(indent + " ".join(map(str, node)))


def _signature(parameters: Kinds, results: Kinds) -> str:
    given = f" (param {' '.join(parameters)})" if parameters else ""
    return given + (f" (result {' '.join(results)})" if results else "")


def _bounds(least: int, most: int | None) -> str:
    return f"{least}" if most is None else f"{least} {most}"


def _constant_text(kind: str, value: int) -> str:
    if kind not in _FLOAT_BITS:
        return f"{kind}.const {value}"
    exponent, mantissa = (8, 23) if kind == F32 else (11, 52)
    fraction = value & (1 << mantissa) - 1
    if value >> mantissa & (1 << exponent) - 1 == (1 << exponent) - 1:
        sign = "-" if value >> (exponent + mantissa) else ""
        return f"{kind}.const {sign}" + (f"nan:{fraction:#x}" if fraction else "inf")
    number: float = struct.unpack("<f" if kind == F32 else "<d", struct.pack(_FLOAT_BITS[kind][0], value))[0]
    return f"{kind}.const {number.hex()}"
