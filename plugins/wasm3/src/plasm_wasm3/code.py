"""Checks the types in the code of functions. Source: the WebAssembly core specification, A.3 (validation algorithm)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from plasm_cell.instructions import EMPTY, F32, F64, I32, I64, INSTRUCTIONS, NOP, Instruction, Types

from .binary import Invalid, Reader

VALUES: Final = frozenset((I32, I64, F32, F64))
_ANY: Final = 0

BLOCK, LOOP, IF, ELSE, FUNCTION = 0x02, 0x03, 0x04, 0x05, -1
_LOCALS: Final = 50_000
_FEATURES = {
    0x06: "exception handling",
    0x07: "exception handling",
    0x08: "exception handling",
    0x09: "exception handling",
    0x0A: "exception handling",
    0x12: "tail calls",
    0x13: "tail calls",
    0x18: "exception handling",
    0x19: "exception handling",
    0x1C: "reference types",
    0x1F: "exception handling",
    0x25: "reference types",
    0x26: "reference types",
    0xD0: "reference types",
    0xD1: "reference types",
    0xD2: "reference types",
    0xFD: "SIMD",
    0xFE: "threads",
}


_VERSION_1: Final = frozenset((*range(0x45, 0xC5), NOP))
_SIMPLE: Final = {
    code: (list(instruction.operands), instruction.results)
    for code, instruction in INSTRUCTIONS.items()
    if code in _VERSION_1 and instruction.operands is not None and instruction.results is not None
}
"""Operands and results of the instructions that have no immediates."""
_CONVERSIONS: Final = {code & 0xFF: INSTRUCTIONS[code] for code in range(0xFC << 16, (0xFC << 16) + 8)}


@dataclass
class Context:
    """What code can refer to."""

    types: list[tuple[Types, Types]] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    """The type of each, imports first."""
    globals: list[tuple[int, bool]] = field(default_factory=list)
    """The type of each, and whether it can change."""
    tables: int = 0
    memories: int = 0


@dataclass(slots=True)
class Frame:
    code: int
    starts: Types
    ends: Types
    height: int
    unreachable: bool = False


class Checker:
    """Holds the types of one function's code against the stack."""

    def __init__(self, context: Context, results: Types, values: Sequence[int], code: Reader) -> None:
        self.context = context
        self.locals = values
        self.code = code
        self.stack: list[int] = []
        self.frames = [Frame(FUNCTION, (), results, 0)]

    # --- the two stacks ---

    def pop(self, wanted: int) -> int:
        frame = self.frames[-1]
        if len(self.stack) == frame.height:
            if frame.unreachable:
                return _ANY
            raise Invalid("an operand is missing")
        found = self.stack.pop()
        if found != wanted and found and wanted:
            raise Invalid("an operand has another type")
        return found

    def pop_all(self, wanted: Sequence[int]) -> None:
        frame, stack = self.frames[-1], self.stack
        bottom = len(stack) - len(wanted)
        if bottom < frame.height and frame.unreachable:
            # What is missing is of any type: nothing to look at one by one.
            wanted = wanted[frame.height - bottom :]
            bottom = frame.height
        if bottom >= frame.height and stack[bottom:] == list(wanted):
            del stack[bottom:]
            return
        for kind in reversed(wanted):
            self.pop(kind)

    def give_up(self) -> None:
        frame = self.frames[-1]
        del self.stack[frame.height :]
        frame.unreachable = True

    def enter(self, code: int, starts: Types, ends: Types) -> None:
        self.frames.append(Frame(code, starts, ends, len(self.stack)))
        self.stack += starts

    def leave(self) -> Frame:
        frame = self.frames[-1]
        self.pop_all(frame.ends)
        if len(self.stack) != frame.height:
            raise Invalid("values are left at the end of a block")
        return self.frames.pop()

    def label(self, depth: int) -> Types:
        if depth >= len(self.frames):
            raise Invalid("a branch to a label that is not there")
        frame = self.frames[-1 - depth]
        return frame.starts if frame.code == LOOP else frame.ends

    # --- instructions ---

    def check(self) -> None:
        while self.frames:
            self.step(self.code.byte())
        if not self.code.at_end:
            raise Invalid("code goes on after the end of its function")

    def step(self, operation: int) -> None:
        """Check the instruction `operation`, whose first byte has been taken."""
        signature = _SIMPLE.get(operation)
        if signature is not None:
            operands, results = signature
            stack = self.stack
            bottom = len(stack) - len(operands)
            if bottom >= self.frames[-1].height and stack[bottom:] == operands:
                stack[bottom:] = results
            else:
                self.pop_all(operands)
                stack += results
        elif 0x20 <= operation <= 0x22:
            self.local(operation)
        elif 0x28 <= operation <= 0x3E:
            self.memory_access(INSTRUCTIONS[operation])
        elif 0x41 <= operation <= 0x44:
            self.constant(operation)
        else:
            self.other(operation)

    def local(self, operation: int) -> None:
        index = self.code.unsigned()
        if index >= len(self.locals):
            raise Invalid("a local that is not there")
        kind = self.locals[index]
        if operation != 0x20:
            self.pop(kind)
        if operation != 0x21:
            self.stack.append(kind)

    def constant(self, operation: int) -> None:
        if operation == 0x41:
            self.code.signed(32)
        elif operation == 0x42:
            self.code.signed(64)
        else:
            self.code.take(4 if operation == 0x43 else 8)
        self.stack.append((I32, I64, F32, F64)[operation - 0x41])

    def memory_access(self, instruction: Instruction) -> None:
        assert instruction.operands is not None
        assert instruction.results is not None
        self.need_memory()
        if self.code.unsigned() > instruction.alignment:
            raise Invalid("an alignment is larger than natural")
        self.code.unsigned()
        self.pop_all(instruction.operands)
        self.stack += instruction.results

    def need_memory(self) -> None:
        if not self.context.memories:
            raise Invalid("it uses a memory that is not there")

    def zero(self, what: str) -> None:
        if self.code.unsigned():
            raise Invalid(f"it uses a second {what}")

    def block_type(self) -> tuple[Types, Types]:
        first = self.code.peek()
        if first & 0xC0 != 0x40:
            found = self.code.signed(33)
            if found < 0:
                raise Invalid("a block has a type that is not known")
            return self.type_of(found)
        # One byte, and no longer spelling of the same number.
        self.code.byte()
        if first == EMPTY:
            return (), ()
        if first not in VALUES:
            raise Invalid("a block has a type that is not known")
        return (), (first,)

    def type_of(self, index: int) -> tuple[Types, Types]:
        if index >= len(self.context.types):
            raise Invalid("a type that is not there")
        return self.context.types[index]

    def other(self, operation: int) -> None:
        match operation:
            case 0x00:
                self.give_up()
            case 0x02 | 0x03 | 0x04:
                starts, ends = self.block_type()
                if operation == IF:
                    self.pop(I32)
                self.pop_all(starts)
                self.enter(operation, starts, ends)
            case 0x05:
                frame = self.leave()
                if frame.code != IF:
                    raise Invalid("an else without its if")
                self.enter(ELSE, frame.starts, frame.ends)
            case 0x0B:
                frame = self.leave()
                if frame.code == IF and frame.starts != frame.ends:
                    raise Invalid("an if without an else gives values")
                self.stack += frame.ends
            case 0x0C:
                self.pop_all(self.label(self.code.unsigned()))
                self.give_up()
            case 0x0D:
                kinds = self.label(self.code.unsigned())
                self.pop(I32)
                self.pop_all(kinds)
                self.stack += kinds
            case 0x0E:
                self.branch_table()
            case 0x0F:
                self.pop_all(self.frames[0].ends)
                self.give_up()
            case 0x10 | 0x11:
                self.call(operation)
            case 0x1A:
                self.pop(_ANY)
            case 0x1B:
                self.select()
            case 0x23 | 0x24:
                self.of_globals(operation)
            case 0x3F | 0x40:
                self.need_memory()
                self.zero("memory")
                if operation == 0x40:
                    self.pop(I32)
                self.stack.append(I32)
            case 0xFC:
                self.miscellaneous()
            case _:
                used = _FEATURES.get(operation)
                raise Invalid(f"it uses {used}" if used else f"an instruction that is not known: {operation:#04x}")

    def branch_table(self) -> None:
        labels = [self.code.unsigned() for _ in range(self.code.count())]
        last = self.label(self.code.unsigned())
        self.pop(I32)
        # Many labels of few types: what they want is looked at once.
        for kinds in {id(kinds): kinds for kinds in map(self.label, dict.fromkeys(labels))}.values():
            if len(kinds) != len(last):
                raise Invalid("labels of one branch want different numbers of values")
            before = self.stack[max(self.frames[-1].height, len(self.stack) - len(kinds)) :]
            self.pop_all(kinds)
            self.stack += before
        self.pop_all(last)
        self.give_up()

    def call(self, operation: int) -> None:
        index = self.code.unsigned()
        if operation == 0x10:
            if index >= len(self.context.functions):
                raise Invalid("a function that is not there")
            index = self.context.functions[index]
        else:
            if not self.context.tables:
                raise Invalid("it uses a table that is not there")
            self.zero("table")
            self.pop(I32)
        operands, results = self.type_of(index)
        self.pop_all(operands)
        self.stack += results

    def select(self) -> None:
        self.pop(I32)
        first = self.pop(_ANY)
        second = self.pop(first)
        self.stack.append(first or second)

    def of_globals(self, operation: int) -> None:
        index = self.code.unsigned()
        if index >= len(self.context.globals):
            raise Invalid("a global that is not there")
        kind, mutable = self.context.globals[index]
        if operation == 0x23:
            self.stack.append(kind)
        elif mutable:
            self.pop(kind)
        else:
            raise Invalid("it sets a global that cannot change")

    def miscellaneous(self) -> None:
        which = self.code.unsigned()
        conversion = _CONVERSIONS.get(which)
        if conversion is not None:
            assert conversion.operands is not None
            assert conversion.results is not None
            self.pop_all(conversion.operands)
            self.stack += conversion.results
        elif which in (10, 11):
            self.need_memory()
            for _ in range(12 - which):
                self.zero("memory")
            self.pop_all((I32, I32, I32))
        elif which in (8, 9):
            raise Invalid("it uses passive data segments")
        elif which < 18:
            raise Invalid("it uses bulk operations on tables")
        else:
            raise Invalid(f"an instruction that is not known: 0xfc {which}")


def locals_of(context: Context, function: int, body: Reader) -> list[int]:
    """The types of the parameters and locals of a function, whose `body` is then read up to its code.

    Raises :exc:`Invalid`.
    """
    values = list(context.types[context.functions[function]][0])
    for _ in range(body.count()):
        count = body.unsigned()
        kind = body.byte()
        if kind not in VALUES:
            raise Invalid("it uses SIMD or reference types")
        if len(values) + count > _LOCALS:
            raise Invalid("a function has too many locals")
        values += [kind] * count
    return values


def check_code(context: Context, function: int, body: Reader) -> None:
    """The body of the function with the index `function`. Raises :exc:`Invalid`."""
    values = locals_of(context, function, body)
    Checker(context, context.types[context.functions[function]][1], values, body).check()
