"""Generates the code of one function: of right types, and such that it ends.

Each function and each turn of a loop takes one from a global, and returns at once when nothing is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from . import constants
from .instructions import F32, F64, I32, I64, KINDS, LOADS, PLAIN, STORES, Kinds
from .modules import IMPORTS, BlockType, Function, Module, Node

STEPS: Final = 0
"""The index of the global."""
STATE: Final = 0x8000
"""Where the report of a program begins; what generated code stores lies below, but where it may trap."""
_MASK: Final = STATE - 1024
"""For addresses: with an offset of less than 1 KiB they stay below the report."""
_DEEPEST_STACK: Final = 14
_OPERATIONS: Final = tuple(PLAIN)
_STRAIGHT: Final = tuple(
    name for name in PLAIN if name[0] == "i" and "f" not in name and "div" not in name and "rem" not in name
)
_DIVISIONS: Final = frozenset(f"{kind}.{name}" for kind in (I32, I64) for name in ("div_s", "div_u", "rem_s", "rem_u"))
_CONVERSIONS: Final = frozenset(name for name in PLAIN if ".trunc_f" in name)
_BY_RESULT: Final = {kind: tuple(name for name in LOADS if LOADS[name].kind == kind) for kind in KINDS}
_STORES_OF: Final = {kind: tuple(name for name in STORES if STORES[name].kind == kind) for kind in KINDS}
_OFFSETS: Final = (0, 1, 2, 4, 7, 8, 16, 0x41, 0x44, 0x94, 0xBB, 300, 1000)
_GROWTHS: Final = (0, 1, 1, 2, 3, 20, 65535, 65536, -1, -65536, 1 << 31)


class Writer:
    """Writes the body of `function`. What it calls is in `module`; `indirect` has slots of the table by type."""

    def __init__(
        self,
        random: Random,
        module: Module,
        function: Function,
        signatures: Sequence[BlockType],
        indirect: dict[BlockType, tuple[int, int]],
        *,
        unsafe: float = 0.0,
    ) -> None:
        self._random = random
        self._module = module
        self._function = function
        self._signatures = signatures
        self._indirect = indirect
        self._unsafe = unsafe
        self._kinds = [*function.parameters, *function.locals]
        self._of_kind = {kind: [index for index, each in enumerate(self._kinds) if each == kind] for kind in KINDS}
        self._globals = {
            kind: [index for index, (each, _) in enumerate(module.globals) if each == kind and index != STEPS]
            for kind in KINDS
        }
        self._out: list[Node] = []
        self._stack: list[str] = []
        self._base = 0
        self._labels: list[Kinds] = [function.results]
        self._dead = False
        self._budget = 0

    # --- the whole ---

    def write(self, budget: int, *, depth: int = 0) -> None:
        """About `budget` instructions, after `depth` blocks in blocks."""
        self._budget = budget
        self._spend_step()
        if depth:
            self._nest(depth)
        self._fill(0.03)
        self._settle(self._function.results)
        self._function.body = self._out

    def write_straight(self, count: int) -> None:
        """`count` instructions that a rewriter has nothing to do with, one after another."""
        self._spend_step()
        random = self._random
        while len(self._out) < count:
            chance = random.random()
            if len(self._stack) > _DEEPEST_STACK:
                self._pop_one()
            elif chance < 0.12:
                self._push_constant(random.choice((I32, I64, I32, I64, F32, F64)))
            elif chance < 0.25:
                # The second byte of these numbers says no more than that they are positive.
                kind = random.choice((I32, I64))
                self._put((f"{kind}.const", random.randint(64, 127)), 0, (kind,))
            elif chance < 0.4:
                self._load(random.choice(KINDS))
            elif chance < 0.5:
                self._store(random.choice(KINDS))
            elif chance < 0.6:
                # Arithmetic of floats is what a rewriter looks for.
                self._alias((I32, I64))
            elif chance < 0.65:
                self._out.append(("nop",))
            else:
                self._operate(random.choice(_STRAIGHT))
        self._settle(self._function.results)
        self._function.body = self._out

    def _spend_step(self) -> None:
        out = self._out
        out += [("global.get", STEPS), ("i32.const", 1), ("i32.sub",), ("global.set", STEPS)]
        give_up: list[Node] = [
            (f"{kind}.const", constants.constant(self._random, kind)) for kind in self._function.results
        ]
        give_up.append(("return",))
        out += [("global.get", STEPS), ("i32.const", 0), ("i32.le_s",), ("if", ((), ()), give_up, [])]

    def _fill(self, ends_early: float) -> None:
        random = self._random
        while self._budget > 0 and not self._dead:
            self._budget -= 1
            self._step()
            if len(self._stack) - self._base > _DEEPEST_STACK:
                self._pop_one()
            if random.random() < ends_early / 8:
                self._leave()
                return

    # --- the stack ---

    def _have(self, kinds: Kinds) -> None:
        """Make `kinds` the topmost operands, of what is there or of new values."""
        stack, there = self._stack, len(self._stack) - self._base
        if self._dead and there < len(kinds) and kinds[len(kinds) - there :] == tuple(stack[self._base :]):
            stack[self._base :] = kinds
            return
        keep = 0
        if self._random.random() < 0.85:
            keep = next((n for n in range(min(there, len(kinds)), 0, -1) if tuple(stack[-n:]) == kinds[:n]), 0)
        for kind in kinds[keep:]:
            self._value(kind)

    def _drop(self, count: int) -> None:
        if count:
            del self._stack[-count:]

    def _put(self, node: Node, operands: int, results: Kinds) -> None:
        self._drop(operands)
        self._out.append(node)
        self._stack += results

    def _value(self, kind: str) -> None:
        chance = self._random.random()
        locals_ = self._of_kind[kind]
        if chance < 0.6 and locals_:
            self._put(("local.get", self._pick(locals_)), 0, (kind,))
        elif chance < 0.7 and self._globals[kind]:
            self._put(("global.get", self._random.choice(self._globals[kind])), 0, (kind,))
        elif chance < 0.78 and not self._dead and self._budget > 0:
            self._budget -= 3
            self._load(kind)
        else:
            self._push_constant(kind)

    def _pick(self, indices: Sequence[int]) -> int:
        """Mostly one of the first two: aliases of one local are where interpreters err."""
        return indices[min(int(self._random.expovariate(0.9)), len(indices) - 1)]

    def _push_constant(self, kind: str) -> None:
        value = constants.constant(self._random, kind)
        self._put((f"{kind}.const", value), 0, (kind,))

    def _pop_one(self) -> None:
        """Let go of the topmost operand."""
        kind, chance = self._stack[-1], self._random.random()
        locals_ = self._of_kind[kind]
        if chance < 0.6 and locals_:
            self._put(("local.set", self._pick(locals_)), 1, ())
        elif chance < 0.75 and self._globals[kind]:
            self._put(("global.set", self._random.choice(self._globals[kind])), 1, ())
        else:
            self._put(("drop",), 1, ())

    def _settle(self, results: Kinds) -> None:
        """Make the operands of this block exactly `results`."""
        stack, base = self._stack, self._base
        if self._dead and self._random.random() < 0.5:
            while len(stack) > base:
                self._put(("drop",), 1, ())
            stack += results
            return
        while tuple(stack[base:]) != results[: len(stack) - base]:
            self._pop_one()
        self._budget = max(self._budget, 0)
        for kind in results[len(stack) - base :]:
            self._value(kind)

    # --- one step ---

    def _step(self) -> None:
        random = self._random
        chance = random.random()
        if chance < 0.36:
            self._operate(random.choice(_OPERATIONS))
        elif chance < 0.52:
            self._alias()
        elif chance < 0.60:
            self._value(random.choice(KINDS))
        elif chance < 0.68:
            self._store(random.choice(KINDS))
        elif chance < 0.72:
            self._load(random.choice(KINDS))
        elif chance < 0.77:
            self._select()
        elif chance < 0.87:
            self._block()
        elif chance < 0.91:
            self._branch_if()
        elif chance < 0.95:
            self._call()
        elif chance < 0.97:
            self._of_memory()
        elif len(self._stack) > self._base:
            self._pop_one()

    def _operate(self, name: str) -> None:
        operation = PLAIN[name]
        kinds = operation.operands
        self._have(kinds)
        safe = self._random.random() >= self._unsafe
        if safe and name in _DIVISIONS:
            self._guard_division(kinds[0])
        elif safe and name in _CONVERSIONS:
            self._drop(1)
            self._out += [("drop",), (f"{kinds[0]}.const", constants.small_float(self._random, kinds[0]))]
            self._stack.append(kinds[0])
        self._put((name,), len(kinds), operation.results)

    def _guard_division(self, kind: str) -> None:
        if self._random.random() < 0.5:
            value = self._random.choice((-7, 3, 10, 1, 2, 255, -2, 1 << 30))
            self._out += [("drop",), (f"{kind}.const", value)]
        else:
            most = (1 << (31 if kind == I32 else 63)) - 1
            self._out += [(f"{kind}.const", 1), (f"{kind}.or",), (f"{kind}.const", most), (f"{kind}.and",)]

    def _alias(self, kinds: Sequence[str] = KINDS) -> None:
        """The same local read and written with its old value on the stack."""
        random = self._random
        kind = random.choice([each for each in kinds if self._of_kind[each]] or [""])
        if not kind:
            return
        one, two = self._pick(self._of_kind[kind]), self._pick(self._of_kind[kind])
        get, put, tee = ("local.get", one), ("local.set", one), ("local.tee", one)
        other, put_other = ("local.get", two), ("local.set", two)
        add = (f"{kind}.add",)
        nodes, left = random.choice(
            (
                ([get, get, put], 1),
                ([get, get, tee], 2),
                ([get, other, put], 1),
                ([get, other, put, put_other], 0),
                ([get, other, put_other], 1),
                ([get, get, other, add, put], 1),
                ([get, get, other, add, tee], 2),
                ([get, put], 0),
                ([get, tee], 1),
                ([get, tee, put_other], 0),
                ([get, get, add, put], 0),
                ([get, other, tee, add], 1),
            )
        )
        self._out += nodes
        self._stack += [kind] * left

    # --- memory ---

    def _address(self) -> int:
        """Push an address, and give the offset that goes with it."""
        random = self._random
        chance = random.random()
        if chance < self._unsafe:
            self._value(I32)
            return random.choice((*_OFFSETS, 65535, 1 << 31, (1 << 32) - 1))
        if chance < 0.5:
            self._put(("i32.const", random.randrange(_MASK)), 0, (I32,))
        else:
            locals_ = self._of_kind[I32]
            self._put(("local.get", self._pick(locals_)) if locals_ else ("i32.const", 64), 0, (I32,))
            self._out += [("i32.const", _MASK & random.choice((-1, 0x3F, 0x3F8))), ("i32.and",)]
        return random.choice(_OFFSETS)

    def _load(self, kind: str) -> None:
        random = self._random
        name = random.choice(_BY_RESULT[kind])
        offset = self._address()
        self._put((name, random.randint(0, LOADS[name].alignment), offset), 1, (kind,))

    def _store(self, kind: str) -> None:
        random = self._random
        name = random.choice(_STORES_OF[kind])
        offset = self._address()
        self._value_for_store(kind)
        self._put((name, random.randint(0, STORES[name].alignment), offset), 2, ())

    def _value_for_store(self, kind: str) -> None:
        locals_ = self._of_kind[kind]
        if locals_ and self._random.random() < 0.8:
            self._put(("local.get", self._pick(locals_)), 0, (kind,))
        else:
            self._push_constant(kind)

    def _of_memory(self) -> None:
        random = self._random
        chance = random.random()
        if chance < 0.2:
            self._put(("memory.size",), 0, (I32,))
        elif chance < 0.45:
            self._put(("i32.const", constants.signed(random.choice(_GROWTHS), 32)), 0, (I32,))
            self._put(("memory.grow",), 1, (I32,))
        else:
            name = random.choice(("memory.copy", "memory.fill"))
            if random.random() < self._unsafe:
                for _ in range(3):
                    self._value(I32)
            else:
                for most in (_MASK, _MASK if name == "memory.copy" else 1 << 31, 900):
                    self._put(("i32.const", random.randrange(most)), 0, (I32,))
            self._put((name,), 3, ())

    def _select(self) -> None:
        kind = self._random.choice(KINDS)
        self._have((kind, kind))
        self._value(I32)
        self._put(("select",), 3, (kind,))

    # --- control ---

    def _block(self) -> None:
        random = self._random
        if len(self._labels) > 8:
            return
        name = random.choice(("block", "block", "loop", "if", "if", "if"))
        given: Kinds = ()
        if not self._dead:
            most = min(3, len(self._stack) - self._base)
            count = random.choice((0, 0, 1, 2, 3))
            given = tuple(self._stack[-count:]) if 0 < count <= most else ()
        made: Kinds = (
            given if random.random() < 0.3 else tuple(random.choices(KINDS, k=random.choice((0, 0, 1, 1, 2, 3))))
        )
        if name == "if":
            self._value(I32)
            self._drop(1)
        branches = [self._branch(name, given, made, random.randint(1, 12))]
        if name == "if":
            other = given != made or random.random() < 0.6
            branches.append(self._branch(name, given, made, random.randint(1, 8)) if other else [])
        self._put((name, (given, made), *branches), len(given), made)

    def _branch(self, name: str, given: Kinds, made: Kinds, budget: int) -> list[Node]:
        """The instructions of a block whose parameters are on the stack, where they stay."""
        random = self._random
        outer = self._out, list(self._stack), self._base, self._dead, self._budget
        self._out, self._dead = [], False
        self._base = len(self._stack) - len(given)
        self._labels.append(given if name == "loop" else made)
        self._budget = min(budget, self._budget)
        spent = self._budget
        if name == "loop":
            self._spend_step()
        self._fill(0.3)
        if name == "loop" and not self._dead and random.random() < 0.7:
            self._have(given)
            self._value(I32)
            self._put(("br_if", 0), 1, ())
        if not self._dead and random.random() < 0.12:
            self._leave()
        self._settle(made)
        self._labels.pop()
        out = self._out
        self._out, self._stack, self._base, self._dead, budget = outer
        self._budget = budget - spent
        return out

    def _nest(self, depth: int) -> None:
        """`depth` blocks, each in the one before."""
        outer: list[list[Node]] = []
        for _ in range(depth):
            outer.append(self._out)
            self._out = []
            self._labels.append(())
            if self._of_kind[I32] and self._random.random() < 0.3:
                self._out += [
                    ("local.get", self._pick(self._of_kind[I32])),
                    ("br_if", self._random.randrange(len(self._labels) - 1)),
                ]
            if self._random.random() < 0.2:
                self._alias()
                while len(self._stack) > self._base:
                    self._pop_one()
        for before in reversed(outer):
            self._labels.pop()
            before.append(("block", ((), ()), self._out))
            self._out = before

    def _label(self) -> int:
        return self._random.randrange(len(self._labels))

    def _branch_if(self) -> None:
        depth = self._label()
        kinds = self._labels[-1 - depth]
        self._have(kinds)
        self._value(I32)
        self._put(("br_if", depth), 1, ())

    def _leave(self) -> None:
        """An instruction after which nothing runs, and sometimes something that does not run."""
        random = self._random
        chance = random.random()
        if chance < 0.4:
            depth = self._label()
            self._have(self._labels[-1 - depth])
            self._out.append(("br", depth))
        elif chance < 0.8:
            depth = self._label()
            kinds = self._labels[-1 - depth]
            same = [at for at in range(len(self._labels)) if self._labels[-1 - at] == kinds]
            self._have(kinds)
            self._value(I32)
            self._out.append(("br_table", random.choices(same, k=random.randint(0, 6)), depth))
        elif random.random() < self._unsafe:
            self._out.append(("unreachable",))
        else:
            self._have(self._function.results)
            self._out.append(("return",))
        del self._stack[self._base :]
        self._dead = True
        if random.random() < 0.4:
            for _ in range(random.randint(1, 4)):
                self._operate_dead()

    def _operate_dead(self) -> None:
        name = self._random.choice(_OPERATIONS)
        kinds = PLAIN[name].operands
        self._have(kinds)
        self._put((name,), len(kinds), PLAIN[name].results)

    def _call(self) -> None:
        random = self._random
        if self._indirect and random.random() < 0.5:
            kinds = random.choice(list(self._indirect))
            first, mask = self._indirect[kinds]
            self._have(kinds[0])
            self._value(I32)
            if random.random() >= self._unsafe:
                self._out += [("i32.const", mask), ("i32.and",), ("i32.const", first), ("i32.add",)]
            self._put(("call_indirect", kinds), 1 + len(kinds[0]), kinds[1])
            return
        index = random.randrange(len(self._signatures))
        kinds = self._signatures[index]
        self._have(kinds[0])
        self._put(("call", len(IMPORTS) + index), len(kinds[0]), kinds[1])
