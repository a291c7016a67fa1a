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
_APART = {
    "copies that operands share": (
        "(func $f (param i64) (result i64) (if (result i64) (i32.const 1) (then (i64.const 9)) "
        "(else (local.get 0) (local.set 0 (local.get 0)))))",
        "(i32.wrap_i64 (call $f (i64.const 5)))",
    ),
    "copies before a block": (
        "(func $f (param i64) (result i64) (local i64) (if (result i64) (i32.const 1) (then (i64.const 9)) "
        "(else (local.get 0) (local.get 0) (block) (i64.add))))",
        "(i32.wrap_i64 (call $f (i64.const 5)))",
    ),
    "a float below a branch that is not taken": (
        "(func $f (param f32) (result f32) (block (result f32) (f32.add (local.get 0) (f32.const 40)) "
        "(local.get 0) (br_if 0 (i32.const 0)) (f32.add)))",
        "(i32.trunc_f32_s (call $f (f32.const 3)))",
    ),
    "a branch back with values": (
        "(func $f (result i32) (i32.const 1) (loop (param i32) (result i32) (i32.mul (i32.const 3)) "
        "(if (param i32) (result i32) (i32.lt_u (global.get $g) (i32.const 3)) "
        "(then (global.set $g (i32.add (global.get $g) (i32.const 1))) (br 1)))) ) (global $g (mut i32) "
        "(i32.const 0))",
        "(call $f)",
    ),
    "a block's parameters that are one local": (
        "(func $f (param i64) (result i64) (local.get 0) (local.get 0) (block (param i64 i64) (result i64) "
        "(local.set 0 (i64.const 50)) (i64.sub) (i64.add (local.get 0))))",
        "(i32.wrap_i64 (call $f (i64.const 5)))",
    ),
    "values that change places": (
        "(func $f (param i32 i32) (result i32) (local i32) (local.get 0) (local.get 1) (loop (param i32 i32) "
        "(result i32) (local.set 0) (local.set 1) (local.get 0) (local.get 1) "
        "(br_if 0 (i32.lt_u (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 4))) (i32.sub)))",
        "(call $f (i32.const 40) (i32.const 9))",
    ),
    "a table of branches with floats": (
        "(func $f (param i32) (result f64) (local f64) (local.set 1 (f64.const 5)) (block (result f64 f64) "
        "(block (result f64 f64) (f64.add (local.get 1) (f64.const 2)) (local.get 1) "
        "(br_table 0 1 (local.get 0))) (f64.add) (f64.const 1)) (f64.mul))",
        "(i32.trunc_f64_s (f64.add (call $f (i32.const 0)) (call $f (i32.const 1))))",
    ),
    "values that leave by a table": (
        "(func $f (param i32) (result i32 i32) (block (result i32 i32) (i32.const 3) (i32.const 4) "
        "(br_table 0 1 (local.get 0))) (i32.add) (i32.const 20))",
        "(i32.add (i32.add (call $f (i32.const 0))) (i32.mul (call $f (i32.const 1))))",
    ),
    "a local assigned while it waits": (
        "(func $f (param i32) (result i32) (local.get 0) (local.get 0) (local.set 0 (i32.const 30)) "
        "(local.get 0) (local.tee 0 (i32.const 7)) (i32.add) (i32.add) (i32.add (local.get 0)) (i32.sub))",
        "(call $f (i32.const 5))",
    ),
    "what no path reaches": (
        "(func $f (param i32) (result i32) (block (br 0) (block (drop (local.get 0)) (drop (local.get 0)) "
        "(loop (br 0)))) (if (result i32) (local.get 0) (then (return (i32.const 8)) (block (unreachable))) "
        "(else (i32.const 9))))",
        "(call $f (i32.const 5))",
    ),
}
"""A function and a call of it: what an interpreter does wrong that lets operands stand for locals, or moves values only
where a branch is taken. The exit code is what was computed."""
_WITH_FUNCTION = """
(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  {function} (func (export "_start") (call $exit (i32.and (i32.const 127) {call}))))
"""
_WHOLE = {
    "data out of bounds": '(module (memory (export "memory") 1) (data (i32.const 65536) "x") (func (export "_start")))',
    "elements out of bounds": """
(module (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 1) $f) (func $f (export "_start")))""",
    "elements far beyond the table": """
(module (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 100000) $f) (func $f (export "_start")))""",
    "elements at the end of all tables": """
(module (memory (export "memory") 1) (table 1 funcref) (elem (i32.const -1) $f) (func $f (export "_start")))""",
    "start section": """
(module (memory (export "memory") 1)
  (global $g (mut i32) (i32.const 0))
  (func $first (global.set $g (i32.const 1)))
  (func (export "_start") (if (i32.eqz (global.get $g)) (then unreachable)))
  (start $first))""",
    "trap in the start section": """
(module (memory (export "memory") 1) (func $first unreachable) (func (export "_start")) (start $first))""",
    "exit in the start section": """
(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (func $first (call $exit (i32.const 41))) (func (export "_start")) (start $first))""",
    "host calls without end in the start section": """
(module (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32))) (memory (export "memory") 1)
  (func $first (loop (drop (call $yield)) (br 0))) (func (export "_start")) (start $first))""",
    "output without end in the start section": """
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 4) "\\f0\\ff")
  (func $first (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br 0)))
  (func (export "_start")) (start $first))""",
    "exports with the names that rewriting uses": """
(module (memory (export "memory") 1)
  (global (export "plasm:limit") i32 (i32.const 1)) (func (export "plasm:start") unreachable)
  (func (export "_start") (drop (memory.grow (i32.const 1)))))""",
    "a tag that nothing uses": """
(module (type (func)) (tag (type 0)) (memory (export "memory") 1) (func (export "_start")))""",
    "passive data": """
(module (memory (export "memory") 1) (data $d "abc")
  (func (export "_start") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3))))""",
    "two tables": """
(module (memory (export "memory") 1) (table 1 funcref) (table 1 funcref) (func (export "_start")))""",
}
_F32 = "(f32.reinterpret_i32 (i32.const {bits}))"
_F64 = "(f64.reinterpret_i64 (i64.const {bits}))"
_ODD32, _ODD64 = _F32.format(bits="0xffc12345"), _F64.format(bits="0xfff8123456789abc")


_MOVES = """
  (type $one (func (param f32) (result f32))) (type $other (func (param i32) (result i32)))
  (type $two (func (param f32) (result f32 f32))) (table funcref (elem $same $other $both))
  (global $fixed f32 (f32.const nan:0x200001)) (global $mutable (mut f32) (f32.const -nan:0x1))
  (data (i32.const 32) "\\01\\00\\a0\\7f")
  (func $same (type $one) (local.get 0))
  (func $other (type $other) (i32.const 7))
  (func $both (type $two) (local f32) (local.tee 1 (local.get 0)) (local.get 1))
  (func $global (param f32) (result f32) (global.set $mutable (local.get 0)) (global.get $mutable))
  (func $block (param f32 i32) (result f32) (local.get 0) (f32.const 1)
    (block (param f32 f32) (result f32) (drop) (br_if 0 (local.get 1)) (drop) (f32.const 2)))
  (func $loop (param f32) (result f32) (local i32) (local.get 0)
    (loop (param f32) (result f32)
      (br_if 0 (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 3)))))
  (func $table (param f32 i32) (result f32) (block (result f32) (block (result f32)
    (local.get 0) (br_table 0 1 (local.get 1))) (f32.neg)))"""
"""Functions through which a number passes, some of them with another of the same shape on integers."""


def _moves() -> str:
    """A program that moves signalling NaNs and writes their bits."""
    nan = "(f32.load (i32.const 32))"
    moved = [
        nan, "(f32.const nan:0x200001)", "(f32.const -nan:0x3fffff)", "(f32.reinterpret_i32 (i32.const 0xff800001))",
        "(global.get $fixed)", "(global.get $mutable)", f"(f32.neg {nan})", f"(f32.abs (f32.neg {nan}))",
        f"(f32.copysign {nan} (f32.const -1))", f"(f32.copysign (f32.neg {nan}) (global.get $fixed))",
        f"(f32.copysign (f32.add (f32.const 1) (f32.const 2)) (f32.neg {nan}))",
        f"(select {nan} (f32.const 1) (i32.const 1))", f"(select (f32.const 1) {nan} (i32.const 0))",
        f"(call $same {nan})", f"(call_indirect (type $one) {nan} (i32.const 0))", f"(call $global {nan})",
        f"(call_indirect (type $two) {nan} (i32.const 2)) (f32.copysign)",
        f"(call $block {nan} (i32.const 1))", f"(call $loop {nan})", f"(call $table {nan} (i32.const 0))",
        f"(call $table {nan} (i32.const 1))", f"(if (result f32) (i32.const 1) (then {nan}) (else (f32.const 1)))",
        f"(f32.add {nan} (f32.const 1))", f"(f32.convert_i32_s (f32.eq {nan} {nan}))",
    ]  # fmt: skip
    stores = "\n".join(f"(i32.const {64 + 4 * at}) {value} (f32.store)" for at, value in enumerate(moved))
    return f"""
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) {_MOVES}
  (func (export "_start")
    {stores}
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {4 * len(moved)}))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call_indirect (type $other) (i32.const 3) (i32.const 0)))))"""


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


def _with_nuls() -> dict[str, bytes]:
    """Exports whose names begin like those that are used, up to a NUL: the used ones end with 2 and 3."""
    head = '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)'
    first = (
        '(func (export "_start\\00x") (call $exit (i32.const 1))) (func (export "_start") (call $exit (i32.const 2)))'
    )
    limit = (
        '(global (export "plasm:limit\\00") (mut i64) (i64.const 0)) (func (export "_start")'
        " (call $exit (select (i32.const 3) (i32.const 4) (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))))"
    )
    return {
        f"a name with a NUL: {name}": bytes(wasmtime.wat2wasm(f"{head} {body})"))
        for name, body in (("start", first), ("limit", limit))
    }


def programs() -> dict[str, bytes]:
    """By name, in the binary format."""
    texts = {path.name: path.read_text() for path in sorted((_ROOT / "tests" / "modules").glob("*.wat"))}
    texts |= {name: _WITH_TRAP.format(body=body) for name, body in _TRAPS.items()}
    texts |= {name: _WITH_FEATURE.format(body=body) for name, body in _FEATURES.items()}
    texts |= _WHOLE
    texts |= {name: _WITH_FUNCTION.format(function=function, call=call) for name, (function, call) in _APART.items()}
    texts |= {"NaN bits": _nans(), "signalling NaNs that are moved": _moves()}
    found = {name: bytes(wasmtime.wat2wasm(text)) for name, text in texts.items()}
    found |= _with_nuls()
    found |= {f"suite {module.name}": module.wasm for module in modules.RUNNABLE}
    found |= empty_memory.programs()
    found["hello.wasm"] = (_ROOT / "examples" / "hello.wasm").read_bytes()
    return found
