"""Programs on which every engine must end alike: the corpus, the suite's, and one for each thing engines differ in."""

from __future__ import annotations

from pathlib import Path

import wasmtime

from plasm.testing import modules
from tests.engines import empty_memory

_ROOT = Path(__file__).parents[2]

_TRAPS = {
    "integer division by zero": "(drop (i32.div_s (i32.const 1) (i32.const 0)))",
    "integer overflow": "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
    "conversion of a NaN": "(drop (i32.trunc_f64_s (f64.const nan)))",
    "conversion of a large number": "(drop (i32.trunc_f64_s (f64.const 1e30)))",
    "load out of bounds": "(drop (i32.load (i32.const -1)))",
    "store out of bounds": "(i64.store offset=0xfffffff0 (i32.const -1) (i64.const 1))",
    "fill out of bounds": "(memory.fill (i32.const -10) (i32.const 10) (i32.const 10))",
    "copy out of bounds": "(memory.copy (i32.const 0) (i32.const 65530) (i32.const 10))",
    "unreachable": "unreachable",
    "call of null": "(call_indirect (i32.const 3))",
    "call beyond the table": "(call_indirect (i32.const 9))",
    "call with another signature": "(call_indirect (i32.const 0))",
    "grown too far and given up": "(drop (memory.grow (i32.const 60000))) unreachable",
    "grown beyond its own maximum": "(drop (memory.grow (i32.const 65000))) unreachable",
}
_WITH_TRAP = """
(module (memory (export "memory") 1 64000) (table 4 funcref) (elem (i32.const 0) $other)
  (func $other (param i32)) (func (export "_start") {body}))
"""
_FEATURES = {
    "sign extension": "(drop (i64.extend8_s (i64.const 200)))",
    "saturating conversion": "(drop (i64.trunc_sat_f64_u (f64.const 1e30)))",
    "block with parameters": "(i32.const 1) (block (param i32) (result i32 i32) (i32.const 2)) drop drop",
    "vectors": "(drop (i32x4.extract_lane 0 (f32x4.div (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0))))",
    "references": "(drop (ref.is_null (ref.null extern)))",
    "tail call": "(return_call 0)",
}
_WITH_FEATURE = '(module (memory (export "memory") 1) (func) (func (export "_start") {body}))'
_WHOLE = {
    "data out of bounds": '(module (memory (export "memory") 1) (data (i32.const 65536) "x") (func (export "_start")))',
    "elements out of bounds": """
(module (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 1) $f) (func $f (export "_start")))""",
    "start section": """
(module (memory (export "memory") 1)
  (global $g (mut i32) (i32.const 0))
  (func $first (global.set $g (i32.const 1)))
  (func (export "_start") (if (i32.eqz (global.get $g)) (then unreachable)))
  (start $first))""",
    "trap in the start section": """
(module (memory (export "memory") 1) (func $first unreachable) (func (export "_start")) (start $first))""",
    "exports with the names that rewriting uses": """
(module (memory (export "memory") 1)
  (global (export "plasm:limit") i32 (i32.const 1)) (func (export "plasm:start") unreachable)
  (func (export "_start") (drop (memory.grow (i32.const 1)))))""",
    "passive data": """
(module (memory (export "memory") 1) (data $d "abc")
  (func (export "_start") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3))))""",
    "two tables": """
(module (memory (export "memory") 1) (table 1 funcref) (table 1 funcref) (func (export "_start")))""",
}
_F32 = "(f32.reinterpret_i32 (i32.const {bits}))"
_F64 = "(f64.reinterpret_i64 (i64.const {bits}))"
_ODD32, _ODD64 = _F32.format(bits="0xffc12345"), _F64.format(bits="0xfff8123456789abc")


def _nans() -> str:
    """A program that writes the bits of what arithmetic and moves make of NaNs."""
    made = []
    for kind, odd, store in (
        ("f32", _ODD32, "(i64.extend_i32_u (i32.reinterpret_f32 {}))"),
        ("f64", _ODD64, "(i64.reinterpret_f64 {})"),
    ):
        values = [f"({kind}.{one} {odd})" for one in ("ceil", "floor", "trunc", "nearest", "sqrt", "neg", "abs")]
        values += [f"({kind}.{two} {odd} ({kind}.const 1))" for two in ("add", "sub", "mul", "div", "min", "max")]
        values += [f"({kind}.{two} ({kind}.const 1) {odd})" for two in ("add", "sub", "min", "max", "copysign")]
        values += [f"({kind}.div ({kind}.const 0) ({kind}.const 0))", f"({kind}.sqrt ({kind}.const -1))", odd]
        made += [store.format(value) for value in values]
    made.append(f"(i64.reinterpret_f64 (f64.promote_f32 {_ODD32}))")
    made.append(f"(i64.extend_i32_u (i32.reinterpret_f32 (f32.demote_f64 {_ODD64})))")
    stores = "\n".join(f"(i64.store (i32.const {64 + 8 * at}) {value})" for at, value in enumerate(made))
    return f"""
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    {stores}
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {8 * len(made)}))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""


def programs() -> dict[str, bytes]:
    """By name, in the binary format."""
    texts = {path.name: path.read_text() for path in sorted((_ROOT / "tests" / "modules").glob("*.wat"))}
    texts |= {name: _WITH_TRAP.format(body=body) for name, body in _TRAPS.items()}
    texts |= {name: _WITH_FEATURE.format(body=body) for name, body in _FEATURES.items()}
    texts |= _WHOLE
    texts["NaN bits"] = _nans()
    found = {name: bytes(wasmtime.wat2wasm(text)) for name, text in texts.items()}
    found |= {f"suite {module.name}": module.wasm for module in modules.RUNNABLE}
    found |= empty_memory.programs()
    found["hello.wasm"] = (_ROOT / "examples" / "hello.wasm").read_bytes()
    return found
