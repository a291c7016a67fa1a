"""Every trap that WebAssembly of this engine's features can cause has its name, and leaves the runtime healthy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from plasm_cell.engine import TRAPS

from plasm.ports import Verdict
from tests.hostile_modules.bench import Bench, converted, opened

_START = '(func (export "_start") {})'
CAUSES = {
    "stack_overflow": '(func $f (export "_start") (call $f))',
    "memory_out_of_bounds": _START.format("(drop (i32.load (i32.const 65536)))"),
    "table_out_of_bounds": "(table 1 funcref) " + _START.format("(drop (table.get 0 (i32.const 1)))"),
    "indirect_call_to_null": "(table 1 funcref) (type $t (func)) "
    + _START.format("(call_indirect (type $t) (i32.const 0))"),
    "bad_signature": "(table funcref (elem $g)) (type $t (func (param i32))) (func $g) "
    + _START.format("(call_indirect (type $t) (i32.const 1) (i32.const 0))"),
    "integer_overflow": _START.format("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))"),
    "integer_division_by_zero": _START.format("(drop (i64.rem_u (i64.const 1) (i64.const 0)))"),
    "bad_conversion_to_integer": _START.format("(drop (i32.trunc_f64_s (f64.const nan)))"),
    "unreachable": _START.format("unreachable"),
    "uncaught_exception": "(tag $e) " + _START.format("(throw $e)"),
}
OF_FEATURES_THAT_ARE_OFF = {"null_reference", "heap_misaligned", "allocation_too_large"}
MORE_WAYS = {
    "a bulk copy beyond the memory": (
        "memory_out_of_bounds",
        _START.format("(memory.copy (i32.const 0) (i32.const 1) (i32.const 65536))"),
    ),
    "a fill beyond the memory": (
        "memory_out_of_bounds",
        _START.format("(memory.fill (i32.const 1) (i32.const 0) (i32.const 65536))"),
    ),
    "a data segment beyond the memory": (
        "memory_out_of_bounds",
        '(data (i32.const 65536) "x") ' + _START.format(""),
    ),
    "elements beyond the table": (
        "table_out_of_bounds",
        "(table 1 funcref) (func $g) (elem (i32.const 1) $g) " + _START.format(""),
    ),
    "an index beyond the table": (
        "table_out_of_bounds",
        "(table 1 funcref) (type $t (func)) " + _START.format("(call_indirect (type $t) (i32.const 1))"),
    ),
    "a number too large to convert": ("integer_overflow", _START.format("(drop (i32.trunc_f64_s (f64.const 1e300)))")),
    "a start function": ("unreachable", "(func $s unreachable) (start $s) " + _START.format("")),
    "two functions that call each other": (
        "stack_overflow",
        '(func $a (call $b)) (func $b (call $a)) (func (export "_start") (call $a))',
    ),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with opened(tmp_path_factory.mktemp("home")) as bench:
        yield bench


def _run(bench: Bench, text: str) -> tuple[Verdict, str | None]:
    outcome = bench.run(converted(f'(module (memory (export "memory") 1) {text})'), wall_seconds=10.0)
    return outcome.verdict, outcome.trap


@pytest.mark.parametrize(("trap", "text"), CAUSES.items(), ids=CAUSES)
def test_a_trap_has_its_name(bench: Bench, trap: str, text: str) -> None:
    assert _run(bench, text) == (Verdict.TRAPPED, trap)


@pytest.mark.parametrize(("trap", "text"), MORE_WAYS.values(), ids=MORE_WAYS)
def test_another_way_has_the_same_name(bench: Bench, trap: str, text: str) -> None:
    assert _run(bench, text) == (Verdict.TRAPPED, trap)


def test_every_name_is_caused_here_or_belongs_to_a_feature_that_is_off() -> None:
    assert set(TRAPS) == {*CAUSES, *OF_FEATURES_THAT_ARE_OFF, "other"}
