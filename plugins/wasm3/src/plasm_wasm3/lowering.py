"""Rewrites the code of functions into a form in which wasm3 keeps values apart.

wasm3 does not copy what ``local.get`` pushes: the operand is the local's own slot until the local is assigned, and only
then is a copy made, for all operands at once. Copies that several operands share are counted wrongly, and so are
operands that a block takes or leaves and those that are moved only where a branch is taken. It then reads a slot that
something else has written (`frame_by_wasm3` was one such program of many). Here each of these cannot come up:

- no local is assigned while an operand stands for it: what would is copied to a local that only that operand has;
- no operand is on the stack where a block begins, and no block has parameters or results: they are in locals;
- branches carry no values, but for those that leave the function;
- what no path reaches is left out.

An ``f32`` is carried as an ``i32``: see :mod:`.floats`.

What is assigned here belongs to one height of the stack, or to one label, so that two of them never meet. Source:
``m3_compile.c`` of wasm3 0.5.0 (``FindReferencedLocalWithinCurrentBlock``, ``CompileBlock``, ``ResolveBlockResults``,
``Compile_Branch``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from plasm_cell import instructions
from plasm_cell.binary import unsigned
from plasm_cell.instructions import (
    BR,
    BR_IF,
    BR_TABLE,
    CALL,
    CALL_INDIRECT,
    DROP,
    EMPTY,
    END,
    F32,
    GLOBAL_GET,
    GLOBAL_SET,
    I32,
    INSTRUCTIONS,
    LOCAL_GET,
    LOCAL_SET,
    LOCAL_TEE,
    MISCELLANEOUS,
    RETURN,
    SELECT,
    UNREACHABLE,
    Types,
)

from . import floats
from .binary import Invalid, Reader
from .code import BLOCK, ELSE, FUNCTION, IF, LOOP, Checker, Context, locals_of
from .floats import AS_FLOAT, AS_INTEGER, Signature, carried
from .validation import Validation

_HEIGHT: Final = 2000
"""Operands and locals of a function at once: ``d_m3MaxFunctionStackHeight``; wasm3 itself refuses more."""
_NO_ROOM: Final = "a function has too many locals and operands"
_AT_HEIGHT, _OF_LABEL, _COPY, _ASIDE = range(4)
"""What a local that is added here is for: an operand while a block runs, a label's value, a copy, the topmost operand
while something is done with those below it."""
_PIECES_FOR_A_BYTE: Final = 1
_PIECES_FOR_ALL: Final = 300_000
"""Instructions that become of a module at most: what is settled again at each block grows with the height of the stack,
and so does the time that it takes. Compilers' code comes to one for two bytes."""
_NOT_A_LOCAL: Final = -1
_DROP: Final = bytes((DROP,))


@dataclass(slots=True)
class _Operand:
    """One on the stack: the local that wasm3 takes it for, if any, and which piece of code only pushes it."""

    local: int = _NOT_A_LOCAL
    piece: int = -1


_UNNAMED: Final = _Operand()
"""One that stands for no local, or that is below the block that is open."""


@dataclass(slots=True)
class _Label:
    """A block that is open in what is written; `bottom` is where the operands of the block around it begin."""

    code: int
    parameters: Types
    results: Types
    height: int
    bottom: int
    entered: bool = True
    """Not where no path leads to it: then nothing of it is written."""


@dataclass
class _Added:
    """The locals of a function as it is written: those that it has, and behind them those that are added."""

    types: list[int]
    known: dict[tuple[int, int, int, int], int] = field(default_factory=dict)

    def local(self, purpose: int, first: int, second: int, kind: int) -> int:
        key = (purpose, first, second, kind)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = len(self.types)
            self.types.append(kind)
        return found


class _Lowering(Checker):
    """Checks code and writes it anew."""

    def __init__(
        self, context: Context, made: Sequence[Signature], kind: int, values: list[int], code: Reader, most: int
    ) -> None:
        parameters, results = context.types[kind]
        super().__init__(context, results, values, code)
        self.made = made
        self.most = most
        """Pieces."""
        self.parameters = len(parameters)
        self.shift = made[kind].added
        self.added = _Added([*made[kind].parameters, *carried(values[self.parameters :])])
        self.pieces: list[bytes] = []
        self.operands: list[_Operand] = []
        self.stood_for: set[int] = set()
        """The locals that operands may stand for, so that they are only looked for where they may be."""
        self.bottom = 0
        """Below it operands are in locals, until the block that is open ends."""
        self.labels = [_Label(FUNCTION, (), results, 0, 0)]

    def lowered(self) -> bytes:
        """The body of the function."""
        code, frames = self.code, self.frames
        most = _HEIGHT - len(self.locals)
        if most < 0:
            raise Invalid(_NO_ROOM)
        while frames:
            start = code.position
            # The checker begins anew in a block, also where no path leads to it.
            dead = frames[-1].unreachable or not self.labels[-1].entered
            height = len(self.stack)
            operation = code.byte()
            self.step(operation)
            if operation in _CONTROL:
                self._control(operation, start + 1, dead=dead)
            elif not dead:
                self._plain(operation, start, height)
            if len(self.stack) > most:
                raise Invalid(_NO_ROOM)
            self._need_room()
        if not code.at_end:
            raise Invalid("code goes on after the end of its function")
        declared = self.added.types[self.parameters + self.shift :]
        groups = [unsigned(len(list(same))) + bytes((kind,)) for kind, same in groupby(declared)]
        return b"".join((unsigned(len(groups)), *groups, *self.pieces))

    # --- writing ---

    def _need_room(self) -> None:
        if len(self.pieces) > self.most:
            raise Invalid("too much has to be put aside for its blocks")

    def _write(self, *pieces: bytes) -> None:
        self.pieces.extend(pieces)

    def _get(self, local: int) -> None:
        self.operands.append(_Operand(local, len(self.pieces)))
        self.stood_for.add(local)
        self.pieces.append(bytes((LOCAL_GET,)) + unsigned(local))

    def _set(self, local: int) -> None:
        """Assign the topmost operand."""
        if self.operands.pop().local == local:
            self.pieces.append(_DROP)
            return
        self._part(local, self.operands)
        self.pieces.append(bytes((LOCAL_SET,)) + unsigned(local))

    def _part(self, local: int, operands: Sequence[_Operand]) -> None:
        """Make sure that none of `operands`, the lowest ones of the stack, stands for `local`; no other one does."""
        if local not in self.stood_for:
            return
        self.stood_for.discard(local)
        for height in range(self.bottom, len(operands)):
            operand = operands[height]
            if operand.local == local:
                operand.local = self.added.local(_COPY, height, 0, self.added.types[local])
                copy = unsigned(operand.local)
                self.pieces[operand.piece] += bytes((LOCAL_SET,)) + copy + bytes((LOCAL_GET,)) + copy

    def _label_locals(self, depth: int) -> list[int]:
        """The locals for the values that branches to the label `depth` carry."""
        at = len(self.labels) - 1 - depth
        label = self.labels[at]
        kinds = label.parameters if label.code == LOOP else label.results
        return [self.added.local(_OF_LABEL, at, number, kind) for number, kind in enumerate(carried(kinds))]

    def _set_all(self, locals_: Sequence[int]) -> None:
        for local in reversed(locals_):
            self._set(local)

    def _get_all(self, locals_: Iterable[int]) -> None:
        for local in locals_:
            self._get(local)

    # --- instructions that only take and give operands ---

    def _plain(self, operation: int, start: int, height: int) -> None:
        data, end = self.code.data, self.code.position
        immediates = start + 1
        if operation == MISCELLANEOUS:
            operation, immediates, _ = instructions.read(data, start, end)
        if LOCAL_GET <= operation <= LOCAL_TEE:
            self._of_local(operation, instructions.read_index(data, immediates)[0])
            return
        if operation in floats.NOTHING_TO_DO:
            return
        operands = self.operands
        taken = _TAKEN.get(operation)
        instruction = data[start:end]
        if taken is None:
            taken = self._taken_by_call(operation, immediates)
            instruction = self._call(operation, immediates) + instruction
        if operation not in floats.WITH_FLOATS:
            self.pieces.append(instruction)
        elif INSTRUCTIONS[operation].operands == (F32, F32):
            self._two_floats(operation)
        else:
            self._convert(floats.written(operation, data, start, immediates, end))
        del operands[height - taken :]
        more = len(self.stack) - len(operands)
        if more == 1 and not taken and self.stack[-1] == F32:
            operands.append(_Operand(piece=len(self.pieces) - 1))
        elif more:
            operands += [_UNNAMED] * more

    def _of_local(self, operation: int, local: int) -> None:
        operands = self.operands
        if local >= self.parameters:
            local += self.shift
        if operation == LOCAL_GET:
            self._get(local)
        elif operation == LOCAL_SET:
            self._set(local)
        elif operands[-1].local != local:
            self._part(local, operands[:-1])
            self._write(bytes((LOCAL_TEE,)) + unsigned(local))

    def _two_floats(self, operation: int) -> None:
        """Write an instruction on two of them."""
        if self.operands[-1].piece == len(self.pieces) - 1:
            last = self.pieces.pop()
        else:
            aside = self._aside()
            self._set(aside)
            last = bytes((LOCAL_GET,)) + unsigned(aside)
        if operation == floats.COPYSIGN:
            self._write(floats.WITHOUT_SIGN, last, floats.SIGN_OF, floats.JOINED)
        else:
            self._convert((AS_FLOAT, last))
            self._write(*floats.converted(operation, bytes((operation,))))

    def _convert(self, pieces: Sequence[bytes]) -> None:
        """Write `pieces`, and no conversion that only undoes the last one."""
        if self.pieces and (self.pieces[-1], pieces[0]) == (AS_INTEGER, AS_FLOAT):
            self.pieces.pop()
            pieces = pieces[1:]
        self.pieces.extend(pieces)

    def _call(self, operation: int, immediates: int) -> bytes:
        """What gives a call the parameters without a meaning."""
        index, _ = instructions.read_index(self.code.data, immediates)
        filled_in = self.made[self.context.functions[index] if operation == CALL else index].filled_in
        if operation == CALL or not filled_in:
            return filled_in
        aside = self._aside()
        self._set(aside)
        return filled_in + bytes((LOCAL_GET,)) + unsigned(aside)

    def _taken_by_call(self, operation: int, immediates: int) -> int:
        """How many operands a call takes."""
        index, _ = instructions.read_index(self.code.data, immediates)
        kind = self.context.functions[index] if operation == CALL else index
        return len(self.context.types[kind][0]) + (operation == CALL_INDIRECT)

    # --- blocks and branches ---

    def _control(self, operation: int, immediates: int, *, dead: bool) -> None:
        data = self.code.data
        if operation in (BLOCK, LOOP, IF):
            self._enter(operation, dead=dead)
        elif operation == ELSE:
            self._else(dead=dead)
        elif operation == END:
            self._end(dead=dead)
        elif dead:
            pass
        elif operation == BR:
            self._branch(instructions.read_index(data, immediates)[0])
        elif operation == BR_IF:
            self._branch_if(instructions.read_index(data, immediates)[0])
        elif operation == BR_TABLE:
            self._branch_table(instructions.read_labels(data, immediates)[0])
        else:
            self._write(bytes((operation,)))

    def _enter(self, operation: int, *, dead: bool) -> None:
        frame = self.frames[-1]
        label = _Label(operation, frame.starts, frame.ends, frame.height, self.bottom, entered=not dead)
        self.labels.append(label)
        if dead:
            return
        if operation != IF:
            self._settle()
        elif len(self.operands) - 1 > self.bottom:
            condition = self._aside()
            self._set(condition)
            self._settle()
            self._get(condition)
        self._write(bytes((operation, EMPTY)))
        self._begin(label)

    def _settle(self) -> None:
        """Move all operands to locals, before the block that has just been put down as a label."""
        if self.labels[-1].code == LOOP:
            self._set_all(self._label_locals(0))
        while len(self.operands) > self.bottom:
            self._set(self._at_height(len(self.operands) - 1))

    def _at_height(self, height: int) -> int:
        return self.added.local(_AT_HEIGHT, height, 0, *carried(self.stack[height : height + 1]))

    def _aside(self) -> int:
        return self.added.local(_ASIDE, 0, 0, I32)

    def _begin(self, label: _Label) -> None:
        """Inside a block, where no operand is there yet: get its parameters."""
        self.bottom = label.height
        del self.operands[label.bottom :]
        self.operands += [_UNNAMED] * (label.height - label.bottom)
        if label.code == LOOP:
            self._get_all(self._label_locals(0))
        else:
            self._get_all(
                self.added.local(_AT_HEIGHT, height, 0, kind)
                for height, kind in enumerate(carried(label.parameters), label.height)
            )

    def _results(self) -> list[int]:
        """The locals for the results of the innermost block."""
        at = len(self.labels) - 1
        kinds = carried(self.labels[-1].results)
        return [self.added.local(_OF_LABEL, at, number, kind) for number, kind in enumerate(kinds)]

    def _else(self, *, dead: bool) -> None:
        label = self.labels[-1]
        if not label.entered:
            return
        if not dead:
            self._set_all(self._results())
        label.code = ELSE
        self._write(bytes((ELSE,)))
        self._begin(label)

    def _end(self, *, dead: bool) -> None:
        label = self.labels[-1]
        if label.entered and label.code != FUNCTION:
            results = self._results()
            if not dead:
                self._set_all(results)
            if label.code == IF and results:
                # Without an else the parameters are the results.
                self._write(bytes((ELSE,)))
                self._begin(label)
                self._set_all(results)
            self._write(bytes((END,)))
            self.bottom = label.bottom
            del self.operands[label.bottom :]
            self._get_all(self._at_height(height) for height in range(label.bottom, label.height))
            self._get_all(results)
        elif label.entered:
            self._write(bytes((END,)))
        self.labels.pop()

    def _branch(self, depth: int) -> None:
        if self.labels[-1 - depth].code == FUNCTION:
            self._write(bytes((RETURN,)))
            return
        self._set_all(self._label_locals(depth))
        self._write(bytes((BR,)) + unsigned(depth))

    def _branch_if(self, depth: int) -> None:
        values = [] if self.labels[-1 - depth].code == FUNCTION else self._label_locals(depth)
        if values:
            condition = self._aside()
            self._set(condition)
            self._set_all(values)
            self._get(condition)
        self.operands.pop()
        self._write(bytes((BR_IF,)) + unsigned(depth))
        self._get_all(values)

    def _branch_table(self, depths: Sequence[int]) -> None:
        first, *others = dict.fromkeys(depths)
        values = self._label_locals(first)
        if not values:
            self._write(_table(depths))
            return
        condition = self._aside()
        self._set(condition)
        self._set_all(values)
        for depth in others:
            self._get_all(values)
            self._set_all(self._label_locals(depth))
            self._need_room()
        function = len(self.labels) - 1
        if function not in depths:
            self._get(condition)
            self._write(_table(depths))
            return
        while len(self.operands) > self.bottom:
            self.operands.pop()
            self._write(_DROP)
        self._write(bytes((BLOCK, EMPTY)))
        self._get(condition)
        self._write(_table([0 if depth == function else depth + 1 for depth in depths]), bytes((END,)))
        self._get_all(self._label_locals(function))
        self._write(bytes((RETURN,)))


def _table(depths: Sequence[int]) -> bytes:
    return bytes((BR_TABLE,)) + unsigned(len(depths) - 1) + b"".join(map(unsigned, depths))


_CONTROL: Final = frozenset((BLOCK, LOOP, IF, ELSE, END, BR, BR_IF, BR_TABLE, RETURN, UNREACHABLE))
_TAKEN: Final[Mapping[int, int]] = {
    **{code: len(known.operands) for code, known in INSTRUCTIONS.items() if known.operands is not None},
    DROP: 1,
    SELECT: 3,
    GLOBAL_GET: 0,
    GLOBAL_SET: 1,
}
"""How many operands a plain instruction takes that is no call."""


class Lowered(Validation):
    """A module that is in order, and its types and the bodies of its functions as wasm3 is to have them."""

    def __init__(self, module: bytes) -> None:
        self.signatures: list[Signature] = []
        self.bodies: list[bytes] = []
        self._room = _PIECES_FOR_ALL + _PIECES_FOR_A_BYTE * len(module)
        super().__init__(module)

    def _types(self, reader: Reader) -> None:
        super()._types(reader)
        self.signatures = floats.signatures(self.context.types)

    def _body(self, function: int, body: Reader) -> None:
        values = locals_of(self.context, function, body)
        kind = self.context.functions[function]
        lowering = _Lowering(self.context, self.signatures, kind, values, body, self._room)
        self.bodies.append(lowering.lowered())
        self._room -= len(lowering.pieces)
