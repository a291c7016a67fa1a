"""Makes a program that engines disagree about as small as it gets.

Parts are taken away as long as what is left is valid and the engines still disagree in the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import wasmtime

from .comparison import differences
from .instructions import BLOCKS, KINDS, PLAIN, Kinds
from .modules import IMPORTS, Function, Module, Node, count
from .programs import Program
from .voices import Panel

_ENGINE: Final = wasmtime.Engine()
_ROW_BY_ROW: Final = 8
"""Rows of so many instructions or fewer are cut out at each place and in each length."""

Change = Callable[[Module], None]
_FARTHEST: Final = 40
"""Between two instructions that are cut out together."""
Path = tuple[tuple[int, int], ...]
"""Where a row of instructions is: of each block on the way to it, the place and the branch."""


def reduce_program(program: Program, panel: Panel, *, most: int = 20_000) -> Program:
    """The smallest program found in `most` attempts that still has the first of its differences.

    Raises :exc:`ValueError` where there is none.
    """
    found = differences(program, panel.ask([program])[0])
    if not found:
        raise ValueError(f"the engines agree about program {program.seed}")
    return _Reduction(program, panel, _aspect(found[0]), most).smallest()


def _aspect(difference: str) -> str:
    """Who differs, and where it is not the amount of fuel, in what."""
    who, what, *_ = difference.split(":")
    return who if who == "fuel" else f"{who}:{what}"


class _Reduction:
    def __init__(self, program: Program, panel: Panel, wanted: str, most: int) -> None:
        self._program = program
        self._panel = panel
        self._wanted = wanted
        self._left = most

    @property
    def _functions(self) -> list[Function]:
        return self._program.module.functions

    def smallest(self) -> Program:
        before = None
        while before != (before := self._program.module.as_text()) and self._left > 0:
            self._limits()
            self._functions_without_code()
            for number in range(len(self._functions)):
                self._cut(number, ())
            self._unused()
            for number in range(len(self._functions)):
                self._simplify(number, ())
                self._cut_pairs(number, ())
        return self._program

    def _try(self, program: Program) -> bool:
        """Take `program` in the place of the one that is there, if it will do."""
        if self._left <= 0 or not _valid(program.module):
            return False
        self._left -= 1
        found = differences(program, self._panel.ask([program])[0])
        if not any(_aspect(each) == self._wanted for each in found):
            return False
        self._program = program
        return True

    def _try_module(self, **parts: object) -> bool:
        return self._try(replace(self._program, module=replace(self._program.module, **parts)))

    def _try_row(self, number: int, path: Path, row: list[Node]) -> bool:
        functions = list(self._functions)
        functions[number] = replace(functions[number], body=_with(functions[number].body, path, row))
        return self._try_module(functions=functions)

    def _limits(self) -> None:
        plain = Program(0, self._program.module)
        for name in ("memory_bytes", "output_bytes", "host_calls"):
            if getattr(self._program, name) != getattr(plain, name):
                self._try(replace(self._program, **{name: getattr(plain, name)}))
        if self._program.module.padding is not None:
            self._try_module(padding=None)

    def _functions_without_code(self) -> None:
        for number, function in enumerate(self._functions):
            if count(function.body) > len(function.results):
                self._try_row(number, (), [(f"{kind}.const", 0) for kind in function.results])

    def _unused(self) -> None:
        """Take away functions that nobody calls, and whatever else nobody looks at."""
        for number in reversed(range(len(self._functions) - 1)):
            self._try_changed(lambda module, number=number: _without_function(module, number))
        module = self._program.module
        for name in ("data", "elements", "globals"):
            for at in reversed(range(len(getattr(module, name)))):
                if name == "globals":
                    self._try_changed(lambda module, at=at: _without_global(module, at))
                else:
                    items = list(getattr(self._program.module, name))
                    self._try_module(**{name: items[:at] + items[at + 1 :]})
        for name in ("starts", "table"):
            if getattr(module, name) is not None:
                self._try_module(**{name: None})
        for number, function in enumerate(self._functions):
            for at in reversed(range(len(function.locals))):
                self._try_changed(lambda module, number=number, at=at: _without_local(module.functions[number], at))

    def _try_changed(self, change: Change) -> bool:
        module = copy.deepcopy(self._program.module)
        change(module)
        return self._try(replace(self._program, module=module))

    def _row(self, number: int, path: Path) -> list[Node]:
        return _at(self._functions[number].body, path)

    def _cut(self, number: int, path: Path) -> None:
        """Take rows of instructions away, long ones first; then in the blocks that are left."""
        size = len(self._row(number, path))
        while size:
            at = 0
            while at + size <= len(row := self._row(number, path)):
                if not self._try_row(number, path, row[:at] + row[at + size :]):
                    at += 1 if size <= _ROW_BY_ROW else size // 2
            size = size - 1 if size <= _ROW_BY_ROW else size // 2
        for inner in _blocks(self._row(number, path)):
            self._cut(number, (*path, inner))

    def _cut_pairs(self, number: int, path: Path) -> None:
        """Take away two instructions at a time, such as one that makes a value and one that lets go of it."""
        one = 0
        while one < len(row := self._row(number, path)):
            others = range(one + 1, min(len(row), one + _FARTHEST))
            pairs = (row[:one] + row[one + 1 : other] + row[other + 1 :] for other in others)
            if not any(self._try_row(number, path, shorter) for shorter in pairs):
                one += 1
        for inner in _blocks(self._row(number, path)):
            self._cut_pairs(number, (*path, inner))

    def _simplify(self, number: int, path: Path) -> None:
        """Put something simpler in the place of one instruction."""
        at = 0
        while at < len(row := self._row(number, path)):
            for nodes in self._instead(row[at]):
                if self._try_row(number, path, row[:at] + nodes + row[at + 1 :]):
                    break
            at += 1
        for inner in _blocks(self._row(number, path)):
            self._simplify(number, (*path, inner))

    def _instead(self, node: Node) -> Iterator[list[Node]]:
        if node[0] in ("call", "call_indirect"):
            yield _dropped(*self._program.module.type_called(node))
        yield from _instead(node)


def _dropped(operands: Kinds, results: Kinds) -> list[Node]:
    return [("drop",)] * len(operands) + [(f"{kind}.const", 0) for kind in results]


def _valid(module: Module) -> bool:
    try:
        wasmtime.Module.validate(_ENGINE, module.encoded())
    except (wasmtime.WasmtimeError, IndexError):
        return False
    return True


def _instead(node: Node) -> Iterator[list[Node]]:
    name = node[0]
    if name in BLOCKS:
        given, made = node[1]
        for branch in node[2:]:
            yield list(branch)
        if name != "block":
            yield [("drop",), ("block", *node[1:3])] if name == "if" else [("block", *node[1:3])]
        for kinds in (made[:-1], made[1:]) if made else ():
            yield [(name, (given, kinds), *node[2:])]
    elif name in PLAIN:
        operation = PLAIN[name]
        yield _dropped(operation.operands, operation.results)
        if operation.operands[-1:] == operation.results:
            yield []
            yield [("drop",)] * (len(operation.operands) - 1)
    elif name.endswith(".const") and node[1]:
        yield [(name, 0)]
        yield [(name, 1)]
    elif name == "local.tee":
        yield [("local.set", node[1])]
        yield []
    elif name == "local.get":
        for kind in KINDS:
            yield [(f"{kind}.const", 0)]


# --- the tree -------------------------------------------------------------------------------------------------------


def _blocks(row: Sequence[Node]) -> list[tuple[int, int]]:
    """Place and branch of the rows in `row`."""
    found = ((at, branch) for at, node in enumerate(row) if node[0] in BLOCKS for branch in range(2, len(node)))
    return [(at, branch) for at, branch in found if row[at][branch]]


def _at(body: list[Node], path: Path) -> list[Node]:
    for at, branch in path:
        body = body[at][branch]
    return body


def _with(body: list[Node], path: Path, row: list[Node]) -> list[Node]:
    """`body` with `row` at `path`; what is beside the path is shared."""
    if not path:
        return row
    (at, branch), *rest = path
    node = list(body[at])
    node[branch] = _with(node[branch], tuple(rest), row)
    return [*body[:at], tuple(node), *body[at + 1 :]]


def _without_function(module: Module, number: int) -> None:
    gone = number + len(IMPORTS)
    del module.functions[number]
    for function in module.functions:
        _renumber(function.body, ("call",), gone)
    module.elements = [
        (offset, [index - (index > gone) for index in indices if index != gone]) for offset, indices in module.elements
    ]
    if module.starts is not None:
        module.starts = None if module.starts == gone else module.starts - (module.starts > gone)


def _without_global(module: Module, at: int) -> None:
    del module.globals[at]
    for function in module.functions:
        _renumber(function.body, ("global.get", "global.set"), at)


def _without_local(function: Function, at: int) -> None:
    del function.locals[at]
    _renumber(function.body, ("local.get", "local.set", "local.tee"), len(function.parameters) + at)


def _renumber(body: list[Node], names: Sequence[str], gone: int) -> None:
    """What was `gone` gets an index that nothing has."""
    for at, node in enumerate(body):
        if node[0] in BLOCKS:
            for branch in node[2:]:
                _renumber(branch, names, gone)
        elif node[0] in names and node[1] >= gone:
            body[at] = (node[0], node[1] - 1 if node[1] > gone else 1 << 30)
