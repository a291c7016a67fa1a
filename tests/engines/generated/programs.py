"""Programs from numbers: valid modules that end, and say in their output what they computed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from . import constants
from .code import STATE, STEPS, Writer
from .instructions import F32, F64, I32, I64, KINDS, STORES, Kinds
from .modules import EXIT, IMPORTS, WRITE, BlockType, Function, Module, Node

_STEPS: Final = 120
"""Functions and turns of loops that one call from outside may take."""
_ROOM: Final = 512
"""Bytes of a report."""
_PAGE: Final = 65536


@dataclass
class Program:
    """A module and the limits of the job that runs it. `seed` made it."""

    seed: int
    module: Module
    memory_bytes: int = 64 * _PAGE
    output_bytes: int = 1 << 20
    host_calls: int = 1000


def generate(seed: int) -> Program:
    """The program of `seed`; the same one each time."""
    return _Generator(seed).program()


class _Generator:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._program = Program(seed, Module())
        self._module = self._program.module
        self._signatures: list[BlockType] = []
        self._indirect: dict[BlockType, tuple[int, int]] = {}

    def program(self) -> Program:
        random, module, program = self._random, self._module, self._program
        unsafe = random.choice((0, 0, 0, 0, 0.02, 0.06))
        shape = random.choices(("plain", "many", "straight", "deep"), (88, 4, 4, 4))[0]
        self._make_memory()
        module.globals = [(I32, _STEPS)]
        for _ in range(random.randint(0, 5)):
            kind = random.choice(KINDS)
            module.globals.append((kind, constants.constant(random, kind)))
        count = random.randint(30, 70) if shape == "many" else random.randint(1, 4)
        functions = [self._declare(number) for number in range(count)]
        self._make_table(len(functions))
        for number, function in enumerate(functions):
            writer = Writer(random, module, function, self._signatures, self._indirect, unsafe=unsafe)
            if shape == "straight" and not number:
                writer.write_straight(random.randint(2010, 2400))
            elif shape == "deep" and not number:
                writer.write(30, depth=random.randint(50, 300))
            else:
                writer.write(random.randint(3, 12) if shape == "many" else int(random.expovariate(1 / 32)) + 5)
        report = len(module.functions) + len(IMPORTS) + 1
        module.functions += [self._digest(), self._report(report - 1)]
        if random.random() < 0.03:
            self._make_start()
        module.functions.append(self._entry(count, report))
        if random.random() < 0.05:
            module.padding = random.getrandbits(32)
        self._limit()
        return program

    def _make_memory(self) -> None:
        random = self._random
        least = 1 if random.random() < 0.9 else random.choice((0, 2, 3, 17))
        most = random.choice((None, None, least, least + 1, least + 3, 40, 65536))
        self._module.pages = (least, most)
        self._module.data = [
            (random.randrange(STATE - 300), random.randbytes(random.randint(1, 200)))
            for _ in range(random.randint(0, 3) if least else 0)
        ]
        if random.random() < 0.01:
            self._module.data.append((least * _PAGE - 2, b"beyond"))

    def _limit(self) -> None:
        """Sometimes the job's limits are close to what the program needs."""
        random, program = self._random, self._program
        chance = random.random()
        if chance < 0.15:
            program.memory_bytes = _PAGE * (self._module.pages[0] + random.randint(-1, 3)) + random.choice((0, 0, 100))
            program.memory_bytes = max(program.memory_bytes, 0)
        elif chance < 0.2:
            program.output_bytes = _ROOM * random.randint(0, 4) + random.choice((0, 0, 1, 100))
        elif chance < 0.23:
            program.host_calls = random.randint(0, 4)

    # --- functions ---

    def _declare(self, number: int) -> Function:
        random = self._random
        if self._signatures and random.random() < 0.4:
            parameters, results = random.choice(self._signatures)
            if random.random() < 0.3:
                parameters, results = self._alike(parameters), self._alike(results)
        else:
            parameters = self._some((0, 1, 1, 2, 3, 5))
            results = self._some((0, 1, 1, 1, 2, 3))
        function = Function(parameters, results, sorted(self._some((1, 2, 3, 4, 6, 12))), [])
        self._signatures.append((parameters, results))
        self._module.functions.append(function)
        return function

    def _alike(self, kinds: Kinds) -> Kinds:
        """Of the same sizes: nothing but the type tells them apart."""
        same = {I32: (I32, F32), F32: (I32, F32), I64: (I64, F64), F64: (I64, F64)}
        return tuple(self._random.choice(same[kind]) for kind in kinds)

    def _some(self, counts: tuple[int, ...]) -> Kinds:
        return tuple(self._random.choices(KINDS, (4, 3, 2, 2), k=self._random.choice(counts)))

    def _make_table(self, count: int) -> None:
        """Slots of one type lie together, so that an index can be kept among them; the last one is empty."""
        random, module = self._random, self._module
        if random.random() < 0.3:
            return
        slot = random.choice((0, 1, 3))
        for kinds in dict.fromkeys(random.choices(self._signatures, k=3)):
            members = [len(IMPORTS) + index for index in range(count) if self._signatures[index] == kinds]
            mask = random.choice((0, 1, 3))
            self._module.elements.append((slot, random.choices(members, k=mask + 1)))
            self._indirect[kinds] = slot, mask
            slot += mask + 1
        if random.random() < 0.01:
            module.elements.append((slot, [len(IMPORTS)] * 3))
        module.table = (slot + 1, random.choice((None, slot + 1, slot + 20)))

    def _make_start(self) -> None:
        body: list[Node] = [("i32.const", 8), ("i32.const", 12345), ("i32.store", 2, 0)]
        if self._random.random() < 0.3:
            body.append(("unreachable",))
        self._module.starts = len(IMPORTS) + len(self._module.functions)
        self._module.functions.append(Function((), (), [], body))

    @staticmethod
    def _digest() -> Function:
        """Of the memory: each word of the first page, and some of each other."""
        at, sum_, end = ("local.get", 0), ("local.get", 1), ("local.get", 2)
        body: list[Node] = [
            ("memory.size",), ("i32.const", 16), ("i32.shl",), ("local.set", 2),
            ("block", ((), ()), [
                ("loop", ((), ()), [
                    at, end, ("i32.ge_u",), ("br_if", 1),
                    sum_, at, ("i64.load", 3, 0), ("i64.xor",), ("i64.const", 0x100000001B3), ("i64.mul",),
                    ("i64.const", 23), ("i64.rotl",), ("local.set", 1),
                    at, ("i32.const", 8), ("i32.const", 4104), at, ("i32.const", _PAGE), ("i32.lt_u",), ("select",),
                    ("i32.add",), ("local.tee", 0), ("i32.const", -8), ("i32.and",), ("local.set", 0),
                    ("br", 0),
                ]),
            ]),
            sum_,
        ]  # fmt: skip
        return Function((), (I64,), [I32, I64, I32], body)

    def _report(self, digest: int) -> Function:
        """Writes what the program computed so far: its results, its globals and the digest of its memory."""
        body: list[Node] = [("i32.const", STATE + 16), ("call", digest), ("i64.store", 3, 0)]
        body += [("i32.const", STATE + 24), ("memory.size",), ("i32.store", 2, 0)]
        for index, (kind, _) in enumerate(self._module.globals):
            body += [("i32.const", STATE + 32 + 8 * index), ("global.get", index), *_stored(kind)]
        body += [("i32.const", STATE), ("i32.const", STATE + 16), ("i32.store", 2, 0)]
        body += [("i32.const", STATE + 4), ("i32.const", _ROOM), ("i32.store", 2, 0)]
        body += [*(("i32.const", value) for value in (1, STATE, 1, STATE + 8)), ("call", WRITE), ("drop",)]
        return Function((), (), [], body)

    def _entry(self, count: int, report: int) -> Function:
        random = self._random
        body: list[Node] = []
        for index in [*random.choices(range(count), k=random.randint(2, 4)), 0]:
            parameters, results = self._signatures[index]
            body += [("i32.const", _STEPS), ("global.set", STEPS)]
            body += [(f"{kind}.const", constants.constant(random, kind)) for kind in parameters]
            body.append(("call", len(IMPORTS) + index))
            for at, kind in reversed(list(enumerate(results))):
                body += [("local.set", KINDS.index(kind)), ("i32.const", STATE + 128 + 8 * at)]
                body += [("local.get", KINDS.index(kind)), *_stored(kind)]
            body.append(("call", report))
        chance = random.random()
        if chance < 0.25:
            body += [
                ("i32.const", constants.signed(random.choice((0, 1, 42, 64, 127, 255, 256, -1)), 32)),
                ("call", EXIT),
            ]
        elif chance < 0.3:
            body.append(("unreachable",))
        return Function((), (), list(KINDS), body)


def _stored(kind: str) -> list[Node]:
    name = f"{kind}.store"
    return [(name, STORES[name].alignment, 0)]
