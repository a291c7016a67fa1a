"""Small modules that take a compiler long: many locals that live through many branches."""

from __future__ import annotations

import random

from plasm_cell.binary import PREAMBLE, unsigned

_LOCALS = 4000
_BLOCKS = 2000
"""Some 30 KiB of code, of which a compiler makes tens of seconds of work."""


def bomb(number: int) -> bytes:
    """The `number`-th such module; each is another one."""
    chance = random.Random(number)
    code = bytearray(b"\x03\x40" * _BLOCKS)
    for depth in range(_BLOCKS):
        one, other, third = (unsigned(chance.randrange(_LOCALS)) for _ in range(3))
        # local.get, local.get, i32.add, local.tee, br_if, end
        code += b"\x20" + one + b"\x20" + other + b"\x6a\x22" + third
        code += b"\x0d" + unsigned(chance.randrange(min(_BLOCKS - depth, 50))) + b"\x0b"
    body = b"\x01" + unsigned(_LOCALS) + b"\x7f" + bytes(code) + b"\x0b"
    return (
        PREAMBLE
        + _section(1, b"\x01\x60\x00\x00")
        + _section(3, b"\x01\x00")
        + _section(5, b"\x01\x00\x01")
        + _section(7, b"\x02\x06_start\x00\x00\x06memory\x02\x00")
        + _section(10, b"\x01" + unsigned(len(body)) + body)
    )


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + unsigned(len(content)) + content
