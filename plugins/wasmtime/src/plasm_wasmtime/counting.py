"""Rewrites a module so that it counts its fuel itself, where nothing has to stop when it runs out.

The engine's own counting asks at each turn of a loop whether the fuel is spent, which takes integer code a fifth more
time. A job that sets no limit needs the sum alone. Here each function adds up in a local of its own, and writes to a
global before it calls, returns or gives up: that takes 8 %. The amounts are those of wasmtime's operator costs: 1 for
an instruction, 0 for those that only give structure, 1 for entering a function, and one more for each byte, element or
page of the instructions that work on many. The sum is the engine's own, but for what a function had not yet written
down when it trapped.

Source: the WebAssembly core specification, 5.4 (instructions); wasmtime's ``FuncEnvironment::fuel_*`` and
``OperatorCost``.
"""

from __future__ import annotations

import re

from plasm_cell import modules
from plasm_cell.binary import (
    CODE,
    EXPORT,
    GLOBAL,
    export_item,
    join,
    read_unsigned,
    sections,
    signed,
    unsigned,
    with_items,
)

from .settings import COUNTER

_I32, _I64 = 0x7F, 0x7E
_LEB = rb"[\x80-\xff]*[\x00-\x7f]"
_COSTED = (
    rb"(?:[\x1b\x45-\xc4\xd1]|[\x20-\x26\x3f\x41\x42\xd0\xd2]"
    + _LEB
    + rb"|[\x28-\x3e]"
    + 2 * _LEB
    + rb"|\x43.{4}|\x44.{8}|\xfc(?:[\x00-\x07]|[\x09\x0d\x10]"
    + _LEB
    + rb")|\xfd(?:[\x00-\x0b\x5c\x5d]"
    + 2 * _LEB
    + rb"|[\x0c\x0d].{16}|[\x15-\x22].|[\x54-\x5b]"
    + 2 * _LEB
    + rb".|[\x0e-\x14\x23-\x53\x5e-\x7f]|[\x80-\xff]\x01))"
)
_FREE = rb"[\x01\x1a]"
_RUN = re.compile(rb"(?:" + _COSTED + rb"|" + _FREE + rb"){0,2000}", re.DOTALL)
"""Instructions without consequence for what runs next; a bounded number, so that matching takes bounded memory."""
_ONE = re.compile(_FREE + rb"*" + _COSTED, re.DOTALL)

_UNREACHABLE, _BLOCK, _LOOP, _IF, _ELSE, _END = 0x00, 0x02, 0x03, 0x04, 0x05, 0x0B
_BRANCH, _BRANCH_IF, _BRANCH_TABLE, _RETURN = 0x0C, 0x0D, 0x0E, 0x0F
_CALL, _CALL_INDIRECT, _RETURN_CALL, _RETURN_CALL_INDIRECT = 0x10, 0x11, 0x12, 0x13
_SELECT_TYPED, _MEMORY_GROW, _MISCELLANEOUS = 0x1C, 0x40, 0xFC
_INDICES = {
    _BRANCH: 1,
    _BRANCH_IF: 1,
    _CALL: 1,
    _CALL_INDIRECT: 2,
    _RETURN_CALL: 1,
    _RETURN_CALL_INDIRECT: 2,
    _MEMORY_GROW: 1,
}
_BULK = {8: 2, 10: 2, 11: 1, 12: 2, 14: 2, 15: 1, 17: 1}
"""Of the instructions behind 0xFC whose topmost operand says how much they do: how many indices follow."""
_LEAVE = frozenset((_UNREACHABLE, _RETURN, _CALL, _CALL_INDIRECT, _RETURN_CALL, _RETURN_CALL_INDIRECT))
_BRANCHES = frozenset((_BRANCH, _BRANCH_IF, _BRANCH_TABLE))
_FREE_CONTROL = frozenset((_UNREACHABLE, _BLOCK, _LOOP, _ELSE, _END, _RETURN))
_REFERENCES = frozenset((0x63, 0x64))


class _Unknown(Exception):
    """Something that this does not know the length or the cost of."""


def counted(module: bytes) -> bytes | None:
    """`module`, which is valid and a command of WASI, with the counter; ``None`` where it holds what is not known here.

    Those are exceptions, typed function references and structures, which leave functions in ways of their own.
    """
    parsed = modules.parse(module)
    if COUNTER in parsed.exports:
        return None
    parts = {kind: content for kind, content in sections(module) if kind}
    count, position = read_unsigned(parts.get(CODE, b"\0"), 0)
    counter = read_unsigned(parts.get(GLOBAL, b"\0"), 0)[0]
    bodies = []
    try:
        for index in parsed.functions[:count]:
            size, position = read_unsigned(parts[CODE], position)
            parameters = parsed.types[index][0]
            if not _REFERENCES.isdisjoint(parameters):
                return None
            body = _Body(parts[CODE], position, position + size, len(parameters), counter).rewritten()
            bodies.append(unsigned(len(body)) + body)
            position += size
    except (_Unknown, IndexError):
        return None
    parts[CODE] = unsigned(len(bodies)) + b"".join(bodies)
    parts[GLOBAL] = with_items(parts.get(GLOBAL, b""), bytes((_I64, 1, 0x42, 0, 0x0B)))
    parts[EXPORT] = with_items(parts[EXPORT], export_item(COUNTER, modules.GLOBAL, counter))
    return join(parts)


class _Body:
    """One function's locals and code."""

    def __init__(self, content: bytes, position: int, end: int, parameters: int, counter: int) -> None:
        self._content = content
        self._end = end
        self._groups, self._head = read_unsigned(content, position)
        locals_ = parameters
        position = self._head
        for _ in range(self._groups):
            count, position = read_unsigned(content, position)
            if content[position] in _REFERENCES:
                raise _Unknown
            locals_ += count
            position += 1
        self._code = position
        self._sum, self._amount = unsigned(locals_), unsigned(locals_ + 1)
        self._load = b"\x23" + unsigned(counter) + b"\x21" + self._sum
        self._store = b"\x20" + self._sum + b"\x24" + unsigned(counter)
        self._out = bytearray()
        self._pending = 1
        self._depth = 0

    def rewritten(self) -> bytes:
        content, end = self._content, self._end
        self._out += self._load
        position = self._code
        while position < end:
            run = _RUN.match(content, position, end)
            assert run is not None
            if run.end() > position:
                self._out += run.group()
                self._pending += len(_ONE.findall(run.group()))
                position = run.end()
            else:
                position = self._one(content[position], position)
        # Two locals, of which the second is for amounts.
        added = bytes((1, _I64, 1, _I32))
        return unsigned(self._groups + 2) + content[self._head : self._code] + added + bytes(self._out)

    def _one(self, code: int, position: int) -> int:
        """Write the instruction `code` at `position` with what belongs before and behind it; where the next one is."""
        after = self._after(code, position)
        out = self._out
        if code in (_MISCELLANEOUS, _MEMORY_GROW):
            self._pending += 1
            self._count_amount()
        elif code not in _FREE_CONTROL:
            self._pending += 1
        if code not in (_BLOCK, _SELECT_TYPED, _MISCELLANEOUS, _MEMORY_GROW):
            self._count()
        if code in _LEAVE or (code == _END and not self._depth) or self._may_return(code, position):
            out += self._store
        if code in (_BLOCK, _LOOP, _IF):
            self._depth += 1
        elif code == _END:
            self._depth -= 1
        out += self._content[position:after]
        if code in (_CALL, _CALL_INDIRECT):
            out += self._load
        return after

    def _may_return(self, code: int, position: int) -> bool:
        """Whether the instruction `code` at `position` is a branch that leads out of the function."""
        if code not in _BRANCHES:
            return False
        count, position = read_unsigned(self._content, position + 1) if code == _BRANCH_TABLE else (0, position + 1)
        for _ in range(count + 1):
            label, position = read_unsigned(self._content, position)
            if label == self._depth:
                return True
        return False

    def _count(self) -> None:
        """Add what has been executed since this was done last."""
        if self._pending:
            self._out += b"\x20" + self._sum + b"\x42" + signed(self._pending) + b"\x7c\x21" + self._sum
            self._pending = 0

    def _count_amount(self) -> None:
        """Add the topmost operand, which stays there."""
        amount, total = self._amount, self._sum
        self._out += b"\x22" + amount + b"\x20" + amount + b"\xad\x20" + total + b"\x7c\x21" + total

    def _after(self, code: int, position: int) -> int:
        """Where the instruction `code` at `position` ends. Raises :exc:`_Unknown`."""
        content = self._content
        position += 1
        if code in (_UNREACHABLE, _ELSE, _END, _RETURN):
            return position
        if code in (_BLOCK, _LOOP, _IF):
            if content[position] in _REFERENCES:
                raise _Unknown
            return self._past(position, 1)
        if code in _INDICES:
            return self._past(position, _INDICES[code])
        if code == _BRANCH_TABLE:
            count, position = read_unsigned(content, position)
            return self._past(position, count + 1)
        if code == _SELECT_TYPED:
            count, position = read_unsigned(content, position)
            if not _REFERENCES.isdisjoint(content[position : position + count]):
                raise _Unknown
            return position + count
        if code == _MISCELLANEOUS:
            which, position = read_unsigned(content, position)
            if which in _BULK:
                return self._past(position, _BULK[which])
        raise _Unknown

    def _past(self, position: int, count: int) -> int:
        """Behind `count` numbers of any sign."""
        for _ in range(count):
            while self._content[position] & 0x80:
                position += 1
            position += 1
        return position
