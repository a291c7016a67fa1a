"""Each function gives each error number that it names, on a buffer and in a real engine, as ``specs/wasi.md`` lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plasm_cell import wasi
from plasm_cell.wasi.errors import NAMES

SPECIFICATION = Path(__file__).parents[4] / "specs" / "wasi.md"


def test_a_call_gives_its_error_number(case: tuple[int, Any], make_program: Callable[..., Any]) -> None:
    expected, script = case
    layer = make_program(file_bytes=1000).layer
    memory = script.memory + bytes(1 << 17)
    layer.memory = memoryview(memory)
    errors = [wasi.call(layer, getattr(wasi.Wasi, step.function), step.arguments) for step in script.calls(memory)]
    if script.event:
        errors.append(int.from_bytes(memory[0x1008:0x100A], "little"))
    assert not any(errors[:-1]), [NAMES[error] for error in errors if error]
    assert NAMES[errors[-1]] == NAMES[expected]


def test_a_module_in_an_engine_gets_the_error_number(
    case: tuple[int, Any], engine: Any, make_program: Callable[..., Any]
) -> None:
    expected, script = case
    code = engine.run(script.text(), make_program(file_bytes=1000).layer)
    assert NAMES.get(code, code) == NAMES[expected]


def test_the_specification_lists_the_tests_and_no_others(case_names: Sequence[str]) -> None:
    rows = re.findall(r"^\| `(\w+|path_\*)` \| `(\w+)` \| (\S.*) \| `(\S+)` \|$", SPECIFICATION.read_text(), re.M)
    named = [name for *_, name in rows]
    assert sorted(named) == sorted(set(named))
    assert sorted(named) == list(case_names)
    for function, error, _, name in rows:
        assert name.split(".")[:2] == [function, error]


def test_every_function_has_its_errors_listed(case_names: Sequence[str]) -> None:
    without = set(wasi.FUNCTIONS) - {name.split(".")[0] for name in case_names}
    assert without == {"proc_exit", "sched_yield"}
