"""The modules that are measured: files beside this one, and one that is generated to be large."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import wasmtime

HELLO = Path(__file__).parents[2] / "examples" / "hello.wasm"
_FOLDER = Path(__file__).parent / "modules"
INTEGER = _FOLDER / "integer.wasm"
FLOAT = _FOLDER / "float.wasm"
WRITE = _FOLDER / "write.wat"
_OPERATIONS = ("add", "sub", "mul", "xor", "and", "or", "shl", "shr_u", "rotl")
_STEPS = 16


@functools.cache
def binary(path: Path) -> bytes:
    """The module in `path`, converted where it is text."""
    content = path.read_bytes()
    return content if path.suffix == ".wasm" else bytes(wasmtime.wat2wasm(content))


def generated(functions: int, number: int) -> bytes:
    """A module of so many functions of some hundred bytes, always the same for the same `number`; it runs the first."""
    drawn = random.Random(number)
    lines = ['(module (memory (export "memory") 1)']
    for _ in range(functions):
        lines.append("(func (param i32) (result i32) (local i32 i32)")
        for _ in range(_STEPS):
            left, right, target = drawn.randrange(3), drawn.randrange(3), drawn.randrange(3)
            operation = f"(i32.{drawn.choice(_OPERATIONS)} (local.get {left}) (local.get {right}))"
            constant = drawn.randrange(1 << 20)
            lines.append(f"(local.set {target} (i32.add {operation} (i32.const {constant})))")
        lines.append(f"(i32.store (i32.and (local.get 1) (i32.const 65532)) (local.get 2)) (local.get {target}))")
    lines.append('(func (export "_start") (drop (call 0 (i32.const 1)))))')
    return bytes(wasmtime.wat2wasm("\n".join(lines)))
