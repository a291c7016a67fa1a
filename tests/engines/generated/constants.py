"""Values at the edges of each kind, and at random."""

from __future__ import annotations

import struct
from random import Random
from typing import Final

from .instructions import F32, F64, I32, I64

_INTEGERS: Final = (0, 1, -1, 2, 3, 7, 31, 32, 63, 64, 65, 127, 128, -128, -129, 255, 256, 32767, 32768, -32768, 65535)
_EDGES: Final = {
    I32: (*_INTEGERS, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 0x7FC00000, 0x7F800000, 0x55555555),
    I64: (*_INTEGERS, 1 << 31, 1 << 32, (1 << 31) - 1, 1 << 63, (1 << 63) - 1, 0x7FF8 << 48, 0x5555555555555555),
}
_FLOATS: Final = (
    "0 -0.0 1 -1 0.5 -0.5 1.5 2.5 -2.5 1e-45 -1e-45 5e-324 1.1754944e-38 2.2250738585072014e-308 3.4028234663852886e38 "
    "1e39 1.7976931348623157e308 inf -inf 127.5 255.5 32768 2147483647 2147483648 -2147483648 -2147483649 4294967295 "
    "4294967296 9223372036854775807 -9223372036854775808 18446744073709551615 1.8446744073709552e19 16777217 "
    "9007199254740993 3.141592653589793 0.1"
)
_SMALL_FLOATS: Final = (0.0, 0.25, 1.0, 1.75, 17.5, 100.0, 1000.5, 16384.0)


def signed(value: int, bits: int) -> int:
    """`value` as a number of two's complement with so many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def float_bits(kind: str, number: float) -> int:
    """The bits of the nearest number of that kind."""
    if kind == F64:
        return int(struct.unpack("<Q", struct.pack("<d", number))[0])
    try:
        return int(struct.unpack("<I", struct.pack("<f", number))[0])
    except OverflowError:
        return 0x7F800000 if number > 0 else 0xFF800000


_NANS: Final = {
    F32: (0x7FC00000, 0xFFC00000, 0x7FC12345, 0xFFFFFFFF, 0x7FA00001, 0xFF800001),
    F64: (0x7FF8 << 48, 0xFFF8 << 48, 0x7FF8000000012345, (1 << 64) - 1, 0x7FF4 << 48, (0xFFF << 52) + 1),
}
FLOAT_EDGES: Final = {
    kind: tuple(float_bits(kind, float(text)) for text in _FLOATS.split()) + 2 * _NANS[kind] for kind in (F32, F64)
}


def constant(random: Random, kind: str) -> int:
    """A value of that kind: of an integer with its sign, of a float its bits."""
    if kind in _EDGES:
        bits = 32 if kind == I32 else 64
        chance = random.random()
        if chance < 0.5:
            return signed(random.choice(_EDGES[kind]), bits)
        if chance < 0.7:
            return random.randint(-64, 300)
        return signed(random.getrandbits(random.choice((bits, 8, 16, bits - 1))), bits)
    if random.random() < 0.7:
        return random.choice(FLOAT_EDGES[kind])
    return random.getrandbits(32 if kind == F32 else 64)


def small_float(random: Random, kind: str) -> int:
    """The bits of a number that converts to each kind of integer."""
    return float_bits(kind, random.choice(_SMALL_FLOATS))
