"""What rewriting a module does to it, seen by running it on wasmtime without limits of its own."""

from __future__ import annotations

from typing import Any

import pytest
import wasmtime
from plasm_cell.engine import Refused
from plasm_cell.instrument import BY_LIMIT, BY_MACHINE, Instrumented, instrument

from tests.engines.programs import programs

_ENGINE = wasmtime.Engine()


class Guest:
    """An instance of a rewritten module."""

    def __init__(self, text: str, limit: int, engine_bytes: int = -1) -> None:
        self.made = instrument(bytes(wasmtime.wat2wasm(text)))
        self._store = wasmtime.Store(_ENGINE)
        self._store.set_limits(memory_size=engine_bytes)
        instance = wasmtime.Instance(self._store, wasmtime.Module(_ENGINE, self.made.module), [])
        self._exports: Any = instance.exports(self._store)
        self._exports[self.made.limit].set_value(self._store, wasmtime.Val.i64(limit))

    def call(self, name: str, *given: int) -> Any:
        return self._exports[name](self._store, *given)

    @property
    def refused(self) -> int:
        return int(self._exports[self.made.refused].value(self._store))


_GROWS = """
(module (memory (export "memory") 1 10)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
"""


def test_growing_up_to_the_limit_works() -> None:
    guest = Guest(_GROWS, 4)
    assert [guest.call("grow", pages) for pages in (0, 2, 1)] == [1, 1, 3]
    assert not guest.refused


@pytest.mark.parametrize("pages", [4, 9])
def test_growing_beyond_the_limit_is_refused_and_noted(pages: int) -> None:
    guest = Guest(_GROWS, 4)
    assert guest.call("grow", pages) == -1
    assert guest.refused == BY_LIMIT
    assert guest.call("grow", 0) == 1


@pytest.mark.parametrize("pages", [10, 65536, -1])
def test_growing_beyond_the_modules_own_maximum_fails_and_is_not_the_limits_doing(pages: int) -> None:
    guest = Guest(_GROWS, 4)
    assert guest.call("grow", pages) == -1
    assert not guest.refused


def test_a_growth_that_the_engine_refuses_below_the_limit_stops_there_and_is_told_apart() -> None:
    guest = Guest(_GROWS, 4, engine_bytes=2 * 65536)
    assert guest.call("grow", 1) == 1
    with pytest.raises(wasmtime.Trap, match="unreachable"):
        guest.call("grow", 1)
    assert guest.refused == BY_MACHINE


def test_the_start_function_runs_when_it_is_called() -> None:
    guest = Guest(
        """(module (memory (export "memory") 1) (global $g (mut i32) (i32.const 0))
        (func $first (global.set $g (i32.const 7))) (start $first)
        (func (export "get") (result i32) (global.get $g)))""",
        1,
    )
    assert guest.call("get") == 0
    assert guest.made.start is not None
    guest.call(guest.made.start)
    assert guest.call("get") == 7


@pytest.mark.parametrize(
    ("body", "bits"),
    [
        ("(i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0)))", 0x7FF8000000000000),
        ("(i64.reinterpret_f64 (f64.neg (f64.div (f64.const 0) (f64.const 0))))", 0xFFF8000000000000),
        ("(i64.reinterpret_f64 (f64.add (f64.const 1) (f64.const 2)))", 0x4008000000000000),
        ("(i64.extend_i32_u (i32.reinterpret_f32 (f32.sqrt (f32.const -1))))", 0x7FC00000),
        (
            "(i64x2.extract_lane 1 (f32x4.div (v128.const f32x4 1 1 1 0) (v128.const f32x4 1 1 2 0)))",
            0x7FC000003F000000,
        ),
        ("(i64x2.extract_lane 0 (f64x2.sqrt (v128.const f64x2 -1 4)))", 0x7FF8000000000000),
        ("(i64x2.extract_lane 1 (f64x2.sqrt (v128.const f64x2 -1 4)))", 0x4000000000000000),
    ],
)
def test_nans_are_canonical_and_numbers_stay(body: str, bits: int) -> None:
    guest = Guest(f'(module (memory (export "memory") 1) (func (export "f") (result i64) {body}))', 1)
    assert guest.call("f") & (1 << 64) - 1 == bits


def test_every_program_stays_valid_and_is_what_it_says() -> None:
    for name, module in programs().items():
        try:
            wasmtime.Module.validate(_ENGINE, module)
        except wasmtime.WasmtimeError:
            continue
        if b"memory" not in module or name in ("no-memory.wat", "throw-for-ever.wat", "tail call"):
            continue
        made = instrument(module)
        wasmtime.Module.validate(_ENGINE, made.module)
        assert Instrumented.decoded(made.encoded()) == made, name


def test_indices_become_as_short_as_they_can_be() -> None:
    module = bytes(
        wasmtime.wat2wasm("""(module (memory (export "memory") 1) (table 1 funcref)
        (func (export "_start") (call_indirect (i32.const 0))))""")
    )
    short = b"\x41\x00\x11\x00\x00\x0b"
    assert short in module
    # As clang's linker writes a table index: with room for any number.
    padded = module.replace(
        b"\x0a\x09\x01\x07\x00" + short, b"\x0a\x0d\x01\x0b\x00\x41\x00\x11\x00\x80\x80\x80\x80\x00\x0b"
    )
    assert len(padded) == len(module) + 4
    assert short in instrument(padded).module


@pytest.mark.parametrize("content", [b"", b"no", b"{}\n", b'{"pages": 1}\nmodule'])
def test_what_is_no_artifact_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        Instrumented.decoded(content)


_LONG_RUNS = {
    "a constant": "(drop (i32.const 64)) (drop (i64.const -64)) (drop (f32.const 1)) (drop (f64.const 1))",
    "loads": "(drop (i32.load offset=0x44 (i32.const 0))) (drop (f64.load offset=0x94 (i32.const 0)))",
    "a store": "(i64.store offset=0xbb align=1 (i32.const 0) (i64.const 0x40))",
    "a vector": "(drop (v128.load64_lane offset=0x94 1 (i32.const 0) (v128.const i64x2 0x40 0x95)))",
    "a table": "(drop (table.get 0 (i32.const 0)))",
    "a call": "(call 0)",
    "a branch": "(block (br_if 0 (i32.const 0)) (br_table 0 0 (i32.const 0)))",
    "a copy": "(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))",
}


@pytest.mark.parametrize("count", [0, 1997, 1998, 1999, 2000, 2001, 4000])
@pytest.mark.parametrize("what", _LONG_RUNS)
def test_an_instruction_after_a_long_run_of_others_stays_as_it_is(what: str, count: int) -> None:
    body = "(nop)" * count + _LONG_RUNS[what]
    module = bytes(wasmtime.wat2wasm(f'(module (memory (export "memory") 1) (table 1 funcref) (func) (func {body}))'))
    code = module[module.rindex(b"\1" * count + _FIRST_BYTES[what]) :]
    assert code in instrument(module).module


_FIRST_BYTES = {
    "a constant": b"\x41\xc0\0",
    "a vector": b"\x41\0\xfd\x0c",
    "a call": b"\x10",
    "a branch": b"\x02\x40",
} | dict.fromkeys(("loads", "a store", "a table", "a copy"), b"\x41\0")


def test_what_is_not_known_is_refused_and_not_guessed() -> None:
    module = bytes(
        wasmtime.wat2wasm('(module (memory (export "memory") 1) (tag $t) (func (throw $t)) (func (export "_start")))')
    )
    with pytest.raises(Refused, match="not known"):
        instrument(module)
