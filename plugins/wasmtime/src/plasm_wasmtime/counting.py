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
from typing import Final

from plasm_cell import instructions, modules
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
from plasm_cell.instructions import (
    BLOCK,
    BR,
    BR_IF,
    BR_TABLE,
    CALL,
    CALL_INDIRECT,
    DROP,
    ELSE,
    END,
    I32,
    I64,
    IF,
    INSTRUCTIONS,
    LOOP,
    MEMORY_COPY,
    MEMORY_FILL,
    MEMORY_GROW,
    MEMORY_INIT,
    NOP,
    RETURN,
    RETURN_CALL,
    RETURN_CALL_INDIRECT,
    SELECT_TYPED,
    TABLE_COPY,
    TABLE_FILL,
    TABLE_GROW,
    TABLE_INIT,
    UNREACHABLE,
    Unknown,
)

from .settings import COUNTER

_CONTROL: Final = frozenset((UNREACHABLE, BLOCK, LOOP, IF, ELSE, END, BR, BR_IF, BR_TABLE, RETURN))
_CALLS: Final = frozenset((CALL, CALL_INDIRECT, RETURN_CALL, RETURN_CALL_INDIRECT))
_BULK: Final = frozenset((MEMORY_INIT, MEMORY_COPY, MEMORY_FILL, TABLE_INIT, TABLE_COPY, TABLE_FILL))
"""Whose topmost operand says how much they do."""
_GROWS: Final = frozenset((MEMORY_GROW, TABLE_GROW))
"""The same, unless they are refused."""
_CHARGED_UNSEEN: Final = 128
"""Pages or elements. So many the engine charges also where it refuses them; more only where it grants them."""
_LEAVE: Final = _CALLS | {UNREACHABLE, RETURN}
_BRANCHES: Final = frozenset((BR, BR_IF, BR_TABLE))
_FREE_CONTROL: Final = frozenset((UNREACHABLE, BLOCK, LOOP, ELSE, END, RETURN))
_COUNT_BEFORE: Final = (_CONTROL | _CALLS) - {BLOCK}
"""Instructions before which the sum has to be up to date: those behind them may run another number of times."""

_COSTED: Final = instructions.pattern(
    code for code in INSTRUCTIONS if code not in _CONTROL | _CALLS | _BULK | _GROWS | {NOP, DROP, SELECT_TYPED}
)
_FREE: Final = instructions.pattern((NOP, DROP))
_RUN: Final = re.compile(rb"(?:" + _COSTED + rb"|" + _FREE + rb"){1,2000}", re.DOTALL)
"""Instructions without consequence for what runs next; a bounded number, so that matching takes bounded memory."""
_ONE: Final = re.compile(_FREE + rb"*" + _COSTED, re.DOTALL)


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
            parameters = instructions.parameters(parsed.types[index][0])
            body = _Body(parts[CODE], position, position + size, parameters, counter).rewritten()
            bodies.append(unsigned(len(body)) + body)
            position += size
    except Unknown:
        return None
    parts[CODE] = unsigned(len(bodies)) + b"".join(bodies)
    parts[GLOBAL] = with_items(parts.get(GLOBAL, b""), bytes((I64, 1, 0x42, 0, 0x0B)))
    parts[EXPORT] = with_items(parts[EXPORT], export_item(COUNTER, modules.GLOBAL, counter))
    return join(parts)


class _Body:
    """One function's locals and code."""

    def __init__(self, content: bytes, position: int, end: int, parameters: int, counter: int) -> None:
        self._content = content
        self._end = end
        self._declared = instructions.read_locals(content, position)
        locals_ = parameters + self._declared.declared
        # One of 64 bits, and two for amounts.
        self._sum, self._amount, self._answer = (unsigned(locals_ + number) for number in range(3))
        self._load = b"\x23" + unsigned(counter) + b"\x21" + self._sum
        self._store = b"\x20" + self._sum + b"\x24" + unsigned(counter)
        self._out = bytearray()
        self._pending = 1
        self._depth = 0

    def rewritten(self) -> bytes:
        content, end = self._content, self._end
        self._out += self._load
        groups, start, _, position = self._declared
        head = content[start:position] + bytes((1, I64, 2, I32))
        while position < end:
            run = _RUN.match(content, position, end)
            if run is None:
                position = self._one(position)
            else:
                self._out += run.group()
                self._pending += len(_ONE.findall(run.group()))
                position = run.end()
        return unsigned(groups + 2) + head + bytes(self._out)

    def _one(self, position: int) -> int:
        """Write the instruction at `position` with what belongs before and behind it; where the next one is."""
        content, out = self._content, self._out
        code, immediates, after = instructions.read(content, position, self._end)
        if code not in _FREE_CONTROL and code not in (NOP, DROP):
            self._pending += 1
        if code in _BULK:
            self._count_amount()
        if code in _COUNT_BEFORE:
            self._count()
        if code in _LEAVE or (code == END and not self._depth) or self._may_return(code, immediates):
            out += self._store
        if code in (BLOCK, LOOP, IF):
            self._depth += 1
        elif code == END:
            self._depth -= 1
        if code in _GROWS:
            self._grow(content[position:after])
        else:
            out += content[position:after]
        if code in (CALL, CALL_INDIRECT):
            out += self._load
        return after

    def _may_return(self, code: int, position: int) -> bool:
        """Whether `code`, whose immediates are at `position`, is a branch that leads out of the function."""
        if code not in _BRANCHES:
            return False
        if code == BR_TABLE:
            return self._depth in instructions.read_labels(self._content, position)[0]
        return instructions.read_index(self._content, position)[0] == self._depth

    def _count(self) -> None:
        """Add what has been executed since this was done last."""
        if self._pending:
            self._out += b"\x20" + self._sum + b"\x42" + signed(self._pending) + b"\x7c\x21" + self._sum
            self._pending = 0

    def _count_amount(self) -> None:
        """Add the topmost operand, which stays there."""
        amount, total = self._amount, self._sum
        self._out += b"\x22" + amount + b"\x20" + amount + b"\xad\x20" + total + b"\x7c\x21" + total

    def _grow(self, instruction: bytes) -> None:
        """Add the topmost operand of `instruction` if it does not answer -1, or is small; the answer stays there."""
        amount, answer, total = self._amount, self._answer, self._sum
        self._out += b"\x22" + amount + instruction + b"\x22" + answer
        self._out += b"\x20" + amount + b"\x41\x00\x20" + answer + b"\x41\x7f\x47"
        self._out += b"\x20" + amount + b"\x41" + signed(_CHARGED_UNSEEN) + b"\x4d\x72\x1b"
        self._out += b"\xad\x20" + total + b"\x7c\x21" + total
