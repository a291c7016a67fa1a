"""What the validator lets through is valid: wasm3 itself would run what is not, beyond the end of its stack."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import wasmtime
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plasm_cell.instrument import instrument
from plasm_wasm3.binary import Invalid
from plasm_wasm3.lowering import Lowered
from plasm_wasm3.prepare import prepare, without_data
from plasm_wasm3.validation import Validation

_ROOT = Path(__file__).parents[3]
_ENGINE = wasmtime.Engine()
_ALL_KINDS = """
(module
  (type $pair (func (param i32 i64) (result f32 f64)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (table 8 funcref) (elem (i32.const 1) $exit $pairs) (elem (i32.const 5) func $loops)
  (memory (export "memory") 1 4) (global $g (mut i64) (i64.const -5)) (global $c f64 (f64.const 1.5))
  (data (i32.const 16) "bytes")
  (func $pairs (type $pair) (f32.convert_i32_u (local.get 0)) (f64.convert_i64_s (local.get 1)))
  (func $loops (param $n i32) (result i64) (local f32 f64)
    (local.set 1 (f32.mul (f32.const 2) (f32.load (local.get $n))))
    (local.set 2 (f64.sqrt (f64.promote_f32 (local.get 1))))
    (loop $again (result i64)
      (br_if $again (i32.eqz (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (block $a (block $b (block $c (br_table $a $b $c (local.get $n)))))
      (global.set $g (i64.add (global.get $g) (i64.load16_s offset=3 (i32.const 8))))
      (if (result i64) (memory.grow (i32.const 1)) (then (global.get $g)) (else (i64.trunc_sat_f64_s (local.get 2))))))
  (func (export "_start")
    (drop (drop (call_indirect (type $pair) (i32.const 1) (i64.const 2) (i32.const 2))))
    (memory.copy (i32.const 0) (i32.const 8) (memory.size))
    (drop (select (call $loops (i32.const 9)) (i64.const 1) (i32.const 0)))
    (call $exit (i32.extend8_s (i32.const 200)))))
"""
_SEEDS = [
    (_ROOT / "examples" / "hello.wasm").read_bytes(),
    bytes(wasmtime.wat2wasm(_ALL_KINDS)),
]


def _valid(module: bytes) -> bool:
    try:
        wasmtime.Module.validate(_ENGINE, module)
    except wasmtime.WasmtimeError:
        return False
    return True


@pytest.mark.parametrize("module", _SEEDS, ids=["hello", "all kinds"])
def test_a_valid_module_is_let_through_and_stays_valid(module: bytes) -> None:
    made = prepare(module, Lowered(module))
    assert _valid(made.module)
    assert _valid(without_data(made.module))


@settings(max_examples=1500)
@given(
    seed=st.sampled_from(_SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.none() | st.integers(0, 3000),
)
@example(seed=_SEEDS[1], changes=[(0, 0)], cut=20)
def test_what_is_let_through_is_valid(seed: bytes, changes: list[tuple[int, int]], cut: int | None) -> None:
    module = bytearray(seed)
    for place, value in changes:
        module[place % len(module)] = value
    changed = bytes(module[:cut])
    try:
        facts = Validation(changed)
    except Invalid:
        return
    assert _valid(changed)
    if facts.context.memories:
        assert _valid(instrument(changed).module)
        # There may be more locals than wasm3 has room for.
        with contextlib.suppress(Invalid):
            assert _valid(prepare(changed, Lowered(changed)).module)


def test_a_function_with_more_operands_than_wasm3_has_room_for_is_refused() -> None:
    many = "(i32.const 1)" * 2001 + "(drop)" * 2001
    module = bytes(wasmtime.wat2wasm(f'(module (memory (export "memory") 1) (func (export "_start") {many}))'))
    with pytest.raises(Invalid, match="too many locals and operands"):
        Lowered(module)


@pytest.mark.parametrize("spelling", [b"\xff\x7f", b"\xff\x42", b"\xc0\x41", b"\xc0\x7f"])
def test_a_block_type_of_more_than_one_byte_is_refused(spelling: bytes) -> None:
    module = bytes(wasmtime.wat2wasm("(module (func (block)))"))
    body = b"\0\x02\x40\x0b\x0b"
    changed = module.replace(b"\x0a\x07\1\5" + body, b"\x0a\x09\1\7\0\0\x02" + spelling + b"\x0b\x0b")
    assert changed != module
    assert not _valid(changed)
    with pytest.raises(Invalid, match="type that is not known"):
        Validation(changed)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("(drop (v128.const i32x4 0 0 0 0))", "SIMD"),
        ("(return_call 0)", "tail calls"),
        ("(drop (ref.null func))", "reference types"),
        ("(table.copy (i32.const 0) (i32.const 0) (i32.const 0))", "bulk operations on tables"),
    ],
)
def test_the_reason_says_what_wasm3_has_not_got(body: str, reason: str) -> None:
    module = wasmtime.wat2wasm(f"(module (memory 1) (table 1 funcref) (func) (func {body}))")
    with pytest.raises(Invalid, match=reason):
        Validation(bytes(module))


def _command(types: str, code: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f'(module {types} (memory (export "memory") 1) (func (export "_start") {code}))'))


_MANY = "i32 " * 900
_COSTLY = {
    "blocks above a high stack": _command("", "(i32.const 0)" * 900 + "(block)" * 9000 + "(drop)" * 900),
    "blocks with many parameters": _command(
        f"(type $t (func (param {_MANY}) (result {_MANY})))",
        "(i32.const 0)" * 900 + "(block (type $t))" * 9000 + "(drop)" * 900,
    ),
    "branches with many values": _command(
        f"(type $t (func (result {_MANY})))",
        "(block (type $t)" + "(i32.const 0)" * 900 + "(br_if 0 (i32.const 0))" * 9000 + ")" + "(drop)" * 900,
    ),
    "a table of branches with many values": _command(
        f"(type $t (func (result {_MANY})))",
        "(block (type $t)" * 900
        + "(i32.const 0)" * 900
        + f"(br_table {' '.join(map(str, range(900)))} (i32.const 0))"
        + ")(unreachable)" * 900,
    ),
}


@pytest.mark.parametrize("name", _COSTLY)
def test_a_module_in_which_too_much_would_be_put_aside_is_refused(name: str) -> None:
    assert _valid(_COSTLY[name])
    with pytest.raises(Invalid, match="too much has to be put aside"):
        Lowered(_COSTLY[name])


def test_all_functions_together_may_not_have_too_much_put_aside() -> None:
    code = "(i32.const 0)" * 900 + "(block)" * 60 + "(drop)" * 900
    few, many = (_functions(code, count) for count in (2, 40))
    Lowered(few)
    with pytest.raises(Invalid, match="too much has to be put aside"):
        Lowered(many)


def _functions(code: str, count: int) -> bytes:
    return bytes(wasmtime.wat2wasm(f'(module (memory (export "memory") 1) {f"(func {code})" * count})'))


def test_operands_that_no_path_reaches_are_bounded_too() -> None:
    module = _command(f"(func $f (result {_MANY}) (unreachable))", "(unreachable)" + "(call $f)" * 3 + "(unreachable)")
    assert _valid(module)
    with pytest.raises(Invalid, match="too many locals and operands"):
        Lowered(module)


@pytest.mark.parametrize(
    "code",
    [
        "(block (result f32) (block (result i32) (br_table 0 1 (i32.const 0))) (drop) (f32.const 1)) (drop)",
        "(block (result i32) (block (br_table 0 1 0 (i32.const 1) (i32.const 0))) (i32.const 1)) (drop)",
        "(block (result i32) (br_table 0 0 0 (f32.const 1) (i32.const 0))) (drop)",
        "(block (result i32) (unreachable) (f32.const 0) (br_table 0 0)) (drop)",
        "(block (result i32 f32) (unreachable) (i32.const 0) (br_table 0 0 (i32.const 0))) (drop) (drop)",
    ],
)
def test_a_table_of_branches_to_labels_of_other_types_is_refused(code: str) -> None:
    module = _command("", code)
    assert not _valid(module)
    with pytest.raises(Invalid):
        Validation(module)


def test_a_table_of_branches_where_operands_are_missing_is_of_any_type() -> None:
    code = "(block (result i32 f32) (block (result f64 f32) (unreachable) (f32.const 0) (br_table 0 1 (i32.const 0)))"
    module = _command("", code + "(drop) (drop) (i32.const 0) (f32.const 0)) (drop) (drop)")
    assert _valid(module)
    Validation(module)
