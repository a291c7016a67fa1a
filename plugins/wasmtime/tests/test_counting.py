"""What a module counts itself is what the engine counts, whatever it does, and changes nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st
from plasm_cell import wasi
from plasm_cell.engine import Limits as EngineLimits
from plasm_cell.modules import check
from plasm_wasmtime import settings
from plasm_wasmtime.compiling import _compiled, _engine
from plasm_wasmtime.counting import counted
from plasm_wasmtime.engine import WasmtimeMachine
from plasm_wasmtime.settings import BY_COUNTER, COUNTER, ENGINE_SETTINGS, UNCOUNTED_SETTINGS

from plasm.ports import Invocation, Limits, Verdict
from tests.bench.programs import FLOAT, INTEGER, binary

COUNTING, PLAIN = _engine(ENGINE_SETTINGS), _engine(UNCOUNTED_SETTINGS)
PLENTY = 10**15
MODULE = """
(module
  (memory (export "memory") 2 5)
  (table $t 10 40 funcref)
  (global $g (mut i32) (i32.const 0))
  (data $d "abcdefgh")
  (elem $e func $leaf $leaf $leaf)
  (type $void (func))
  (func $leaf)
  (func $twice (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func $down (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 7))
      (else (return_call $down (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "_start") (local $n i32) (local $m i32) (local $x i64) (local $v v128)
    BODY))
"""
STATEMENTS = {
    "nothing": "",
    "nop and drop": "(nop) (drop (i32.const 1)) (nop)",
    "arithmetic": "(local.set $x (i64.extend_i32_s (i32.div_u (i32.const 9) (i32.const 4))))",
    "floats": "(drop (f64.nearest (f64.convert_i32_s (i32.trunc_sat_f32_u (f32.const 1.5)))))",
    "vectors": "(local.set $v (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (v128.const i64x2 1 2)"
    " (i32x4.splat (i32.const 3)))) (v128.store (i32.const 0) (local.get $v)) (drop (v128.load32_lane 1 (i32.const 8)"
    " (local.get $v))) (drop (i8x16.extract_lane_s 3 (f32x4.ceil (v128.load64_zero (i32.const 0)))))",
    "memory": "(i32.store offset=65536 align=1 (i32.const 4) (i32.load8_s (i32.const 2)))",
    "bulk": "(memory.fill (i32.const 0) (i32.const 1) (i32.const 100)) (memory.copy (i32.const 9) (i32.const 0)"
    " (i32.const 50)) (memory.init $d (i32.const 0) (i32.const 1) (i32.const 5)) (data.drop $d)"
    " (drop (memory.size)) (drop (memory.grow (i32.const 2))) (drop (memory.grow (i32.const 100)))",
    "tables": "(table.init $e (i32.const 0) (i32.const 0) (i32.const 3)) (table.copy (i32.const 4) (i32.const 0)"
    " (i32.const 2)) (table.fill (i32.const 6) (ref.func $leaf) (i32.const 4)) (drop (table.grow (ref.null func)"
    " (i32.const 5))) (drop (table.size)) (elem.drop $e) (drop (ref.is_null (table.get (i32.const 9))))"
    " (call_indirect (type $void) (i32.const 6))",
    "calls": "(call $leaf) (global.set $g (call $twice (call $twice (i32.const 3))))"
    " (drop (call $down (i32.const 30)))",
    "select": "(drop (select (i32.const 1) (i32.const 2) (local.get $n))) (drop (select (result i64) (i64.const 1)"
    " (i64.const 2) (local.get $n)))",
    "return": "(return) (drop (i32.const 1)) (block (nop))",
    "branch out": "(br 0) (loop (drop (i32.const 1)))",
    "dead branch": "(block (br 0) (block (br_if 1 (i32.const 1))) (drop (i32.const 5))) (nop)",
    "branch to a result": "(drop (block (result i32) (br_if 0 (i32.const 1) (local.get $n)) (i32.add (i32.const 1))))",
    "trap by itself": "(drop (i32.const 1)) (unreachable)",
}


STEP = "(local.set $n (i32.add (local.get $n) (i32.const 1)))"


def _module(body: str) -> bytes:
    return bytes(wasmtime.wat2wasm(MODULE.replace("BODY", body)))


def _ended(engine: wasmtime.Engine, module: bytes, fuel: int | None, limits: Mapping[str, int]) -> tuple[str, int]:
    store = wasmtime.Store(engine)
    store.set_limits(**limits)
    if fuel is not None:
        store.set_fuel(PLENTY)
    instance: Any = wasmtime.Instance(store, wasmtime.Module(engine, module), [])
    if fuel is not None:
        store.set_fuel(fuel)
    exports = instance.exports(store)
    how = "returned"
    try:
        exports["_start"](store)
    except wasmtime.Trap as trap:
        how = str(trap.trap_code)
    return how, exports[COUNTER].value(store) if fuel is None else fuel - store.get_fuel()


def _same(module: bytes, limits: Mapping[str, int] = MappingProxyType({})) -> None:
    by_engine = _ended(COUNTING, module, 100_000, limits)
    # A program that does not end by itself has no sum.
    if by_engine[0] != str(wasmtime.TrapCode.OUT_OF_FUEL):
        rewritten = counted(module)
        assert rewritten is not None
        by_itself = _ended(PLAIN, rewritten, None, limits)
        assert by_itself[0] == by_engine[0]
        # Of a trap's function some may not have been written down, here or there.
        assert by_itself[1] == by_engine[1] or by_engine[0] != "returned"


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_instruction_counts_as_it_does_in_the_engine(name: str) -> None:
    _same(_module(STATEMENTS[name]))


_SIZES = (0, 1, 4, 5, 30, 31, 127, 128, 129, 200, 65534, 65535, 65536, 1 << 18, 1 << 31, -128, -1)


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("limited", [False, True])
def test_a_growth_counts_as_it_does_in_the_engine_whether_it_is_granted_or_refused(size: int, limited: bool) -> None:
    limits = {"memory_size": 4 << 16, "table_elements": 100} if limited else {}
    for statement in (f"(memory.grow (i32.const {size}))", f"(table.grow (ref.null func) (i32.const {size}))"):
        for most in ("2 5", "2 3000", "2"):
            text = MODULE.replace("BODY", f"(drop {statement}) (drop {statement})").replace("2 5", most)
            _same(bytes(wasmtime.wat2wasm(text)), limits)


def test_what_a_receipt_cannot_hold_is_told_as_the_most_that_it_can() -> None:
    text = f'''
(module (memory (export "memory") 1) (func (export "_start"))
  (global (export "{COUNTER}") i64 (i64.const 0x7000000000000000)))'''
    module = bytes(wasmtime.wat2wasm(text))
    compiled = _compiled(module, check(module), BY_COUNTER, UNCOUNTED_SETTINGS)
    machine = WasmtimeMachine(settings.COUNTING)
    program = machine.load(memoryview(compiled.artifact), compiled.starts)
    layer = wasi.Wasi(
        args=[],
        env=[],
        stdin=memoryview(b""),
        output_bytes=0,
        host_calls=0,
        clock=wasi.VirtualClock(bytes(32)),
        random=wasi.SeededRandom(bytes(32)),
        inputs={},
        file_bytes=0,
    )
    assert machine.run(program, layer, EngineLimits(1 << 20, 0, 10.0, None)).fuel == 2**53 - 1


def test_more_instructions_in_a_row_than_are_read_at_once() -> None:
    for count in (1998, 1999, 2000, 2001, 4000, 5003):
        _same(_module("(local.set $n (i32.const 1))" * (count // 2)))
        _same(_module("(nop)" * count + "(local.set $n (i32.const 1))"))


SHAPES = (
    "(block {0} {1})",
    f"(loop {STEP} {{0}} (br_if 0 (i32.lt_u (local.get $n) (i32.const 4))) {{1}})",
    "(if (i32.and (local.get $n) (i32.const 1)) (then {0}) (else {1}))",
    f"(if (local.get $n) (then {STEP} {{0}})) {{1}}",
    f"(block (block (block (br_table 0 1 2 1 (local.get $n))) {{0}}) {{1}} {STEP})",
    f"(block (block {{0}} (br 0) {STEP}) {{1}} {STEP})",
    f"(block (block {{0}} (br_if 1 (local.get $n)) {STEP}) {{1}} {STEP})",
    f"(block (loop {{0}} (br 1) {STEP}) {{1}} {STEP})",
)
PROGRAMS: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        st.sampled_from((*STATEMENTS.values(), STEP)),
        st.builds(
            lambda shape, first, second: shape.format(first, second), st.sampled_from(SHAPES), PROGRAMS, PROGRAMS
        ),
    )
)


@given(PROGRAMS)
def test_any_nesting_counts_as_it_does_in_the_engine(body: str) -> None:
    _same(_module(body))


@pytest.mark.parametrize("module", [INTEGER, FLOAT], ids=lambda path: path.stem)
@pytest.mark.anyio
async def test_real_programs_burn_the_same_with_and_without_a_limit(bench: Any, module: Any) -> None:
    async with bench.open(slots=1) as runtime:
        free = await bench.run(runtime, binary(module))
        limited = await bench.run(runtime, binary(module), fuel=PLENTY)
    assert free.usage.fuel == limited.usage.fuel
    assert free.usage.fuel > 10**9
    assert (free.verdict, free.stdout) == (limited.verdict, limited.stdout)


UNKNOWN = {
    "exceptions": '(module (tag $t) (memory (export "memory") 1) (func (export "_start")'
    " (block (try_table (catch_all 0) (throw $t)))))",
    "a start section": '(module (memory (export "memory") 1) (start $f) (func $f (loop)) (func (export "_start")))',
    "a global of that name": f'(module (global (export "{COUNTER}") i32 (i32.const 1)) (memory (export "memory") 1)'
    ' (func (export "_start")))',
    "as many locals as there may be": f'(module (memory (export "memory") 1) (func (export "_start")'
    f" (local {' '.join(['i32'] * 49_999)})))",
}


@pytest.mark.parametrize("what", UNKNOWN)
@pytest.mark.anyio
async def test_what_cannot_count_itself_is_counted_by_the_engine(bench: Any, what: str) -> None:
    module = bytes(wasmtime.wat2wasm(UNKNOWN[what]))
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, module)
        limited = await bench.run(runtime, module, fuel=PLENTY)
    assert outcome.verdict is Verdict.EXITED
    assert outcome.usage.fuel == limited.usage.fuel > 0


@pytest.mark.parametrize("segment", ['(data (i32.const 65535) "ab")', "(table 1 funcref) (elem (i32.const 1) $f)"])
@pytest.mark.anyio
async def test_a_program_that_traps_before_it_begins_has_used_no_fuel(bench: Any, segment: str) -> None:
    module = bytes(wasmtime.wat2wasm(f'(module (memory (export "memory") 1) {segment} (func $f (export "_start")))'))
    async with bench.open(slots=1) as runtime:
        free = await bench.run(runtime, module)
        limited = await bench.run(runtime, module, fuel=PLENTY)
    assert free.verdict is limited.verdict is Verdict.TRAPPED
    assert free.trap == limited.trap
    assert free.usage.fuel == limited.usage.fuel == 0


@pytest.mark.anyio
async def test_a_module_that_ran_without_a_limit_is_held_to_one(bench: Any) -> None:
    async with bench.open(slots=1) as runtime:
        free = await bench.run(runtime, bench.hello, stdin=b"abc")
        enough = await bench.run(runtime, bench.hello, stdin=b"abc", fuel=free.usage.fuel)
        short = await bench.run(runtime, bench.hello, stdin=b"abc", fuel=free.usage.fuel // 2)
        again = await bench.run(runtime, bench.hello, stdin=b"abc")
    assert (free.verdict, enough.verdict, again.verdict) == (Verdict.EXITED,) * 3
    assert short.verdict is Verdict.OUT_OF_FUEL
    assert free.usage.fuel == enough.usage.fuel == again.usage.fuel


@pytest.mark.anyio
async def test_a_limit_holds_after_a_restart_and_without_a_home(bench: Any, tmp_path: Any) -> None:
    digest = bench.digest(bench.hello)
    async with bench.open(home=tmp_path) as runtime:
        await runtime.prepare(digest, bench.hello)
    async with bench.open(home=tmp_path) as runtime:
        outcome = await runtime.run(Invocation(module=digest, limits=Limits(fuel=3)))
        assert outcome.verdict is Verdict.OUT_OF_FUEL
    async with bench.open_without_home() as runtime:
        assert (await bench.run(runtime, bench.module("spin"), fuel=10_000)).verdict is Verdict.OUT_OF_FUEL


@pytest.mark.anyio
async def test_reused_cells_keep_both_apart(bench: Any) -> None:
    async with bench.open(slots=1, isolation="reused") as runtime:
        for _ in range(3):
            free = await bench.run(runtime, bench.hello, stdin=b"abc")
            short = await bench.run(runtime, bench.hello, stdin=b"abc", fuel=free.usage.fuel // 2)
            assert (free.verdict, short.verdict) == (Verdict.EXITED, Verdict.OUT_OF_FUEL)
