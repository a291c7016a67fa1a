"""The plain instructions that generated programs use: code, operands, results.

Source: the WebAssembly core specification, 5.4 (instructions); the vector instructions are left out.
"""

from __future__ import annotations

from typing import Final, NamedTuple

Kinds = tuple[str, ...]

I32, I64, F32, F64 = "i32", "i64", "f32", "f64"
KINDS: Final = (I32, I64, F32, F64)
CODES: Final = {I32: 0x7F, I64: 0x7E, F32: 0x7D, F64: 0x7C, "funcref": 0x70}


class Plain(NamedTuple):
    """An instruction without immediates."""

    code: bytes
    operands: Kinds
    results: Kinds


class Access(NamedTuple):
    """A load or a store: the kind of its value, and the logarithm of its natural alignment."""

    code: int
    kind: str
    alignment: int


def _plain() -> dict[str, Plain]:
    found: dict[str, Plain] = {}

    def add(first: int, kind: str, names: str, operands: Kinds, results: Kinds) -> None:
        for code, name in enumerate(names.split(), first):
            found[f"{kind}.{name}"] = Plain(bytes((code,)), operands, results)

    compared = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
    integers = "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr"
    for kind, test, count, two, extend in ((I32, 0x45, 0x67, 0x6A, 0xC0), (I64, 0x50, 0x79, 0x7C, 0xC2)):
        add(test, kind, "eqz", (kind,), (I32,))
        add(test + 1, kind, compared, (kind, kind), (I32,))
        add(count, kind, "clz ctz popcnt", (kind,), (kind,))
        add(two, kind, integers, (kind, kind), (kind,))
        add(extend, kind, "extend8_s extend16_s" + " extend32_s" * (kind == I64), (kind,), (kind,))
    for kind, compare, one, two in ((F32, 0x5B, 0x8B, 0x92), (F64, 0x61, 0x99, 0xA0)):
        add(compare, kind, "eq ne lt gt le ge", (kind, kind), (I32,))
        add(one, kind, "abs neg ceil floor trunc nearest sqrt", (kind,), (kind,))
        add(two, kind, "add sub mul div min max copysign", (kind, kind), (kind,))
    conversions = (
        "i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u i64.extend_i32_s "
        "i64.extend_i32_u i64.trunc_f32_s i64.trunc_f32_u i64.trunc_f64_s i64.trunc_f64_u f32.convert_i32_s "
        "f32.convert_i32_u f32.convert_i64_s f32.convert_i64_u f32.demote_f64 f64.convert_i32_s f64.convert_i32_u "
        "f64.convert_i64_s f64.convert_i64_u f64.promote_f32 i32.reinterpret_f32 i64.reinterpret_f64 "
        "f32.reinterpret_i32 f64.reinterpret_i64"
    )
    for code, name in enumerate(conversions.split(), 0xA7):
        found[name] = Plain(bytes((code,)), (_operand(name),), (name[:3],))
    saturating = (f"{to}.trunc_sat_{of}_{sign}" for to in (I32, I64) for of in (F32, F64) for sign in "su")
    for code, name in enumerate(saturating):
        found[name] = Plain(bytes((0xFC, code)), (_operand(name),), (name[:3],))
    return found


def _operand(name: str) -> str:
    return next(part for part in name.split(".")[1].split("_") if part in KINDS)


PLAIN: Final = _plain()
LOADS: Final = {
    "i32.load": Access(0x28, I32, 2),
    "i64.load": Access(0x29, I64, 3),
    "f32.load": Access(0x2A, F32, 2),
    "f64.load": Access(0x2B, F64, 3),
    "i32.load8_s": Access(0x2C, I32, 0),
    "i32.load8_u": Access(0x2D, I32, 0),
    "i32.load16_s": Access(0x2E, I32, 1),
    "i32.load16_u": Access(0x2F, I32, 1),
    "i64.load8_s": Access(0x30, I64, 0),
    "i64.load8_u": Access(0x31, I64, 0),
    "i64.load16_s": Access(0x32, I64, 1),
    "i64.load16_u": Access(0x33, I64, 1),
    "i64.load32_s": Access(0x34, I64, 2),
    "i64.load32_u": Access(0x35, I64, 2),
}
STORES: Final = {
    "i32.store": Access(0x36, I32, 2),
    "i64.store": Access(0x37, I64, 3),
    "f32.store": Access(0x38, F32, 2),
    "f64.store": Access(0x39, F64, 3),
    "i32.store8": Access(0x3A, I32, 0),
    "i32.store16": Access(0x3B, I32, 1),
    "i64.store8": Access(0x3C, I64, 0),
    "i64.store16": Access(0x3D, I64, 1),
    "i64.store32": Access(0x3E, I64, 2),
}
INDEXED: Final = {
    "br": 0x0C,
    "br_if": 0x0D,
    "call": 0x10,
    "local.get": 0x20,
    "local.set": 0x21,
    "local.tee": 0x22,
    "global.get": 0x23,
    "global.set": 0x24,
}
"""Instructions with one index."""
OTHERS: Final = {
    "unreachable": b"\x00",
    "nop": b"\x01",
    "return": b"\x0f",
    "drop": b"\x1a",
    "select": b"\x1b",
    "memory.size": b"\x3f\x00",
    "memory.grow": b"\x40\x00",
    "memory.copy": b"\xfc\x0a\x00\x00",
    "memory.fill": b"\xfc\x0b\x00",
}
"""Instructions without an immediate that is chosen, whose operands do not follow from the name alone."""
BLOCKS: Final = {"block": 0x02, "loop": 0x03, "if": 0x04}
