"""The binary format of modules that an engine or a validator has found valid.

Source: the WebAssembly core specification, 5.2 (values) and 5.5 (modules).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

PREAMBLE: Final = b"\0asm\1\0\0\0"
PAGE_BYTES: Final = 65536
TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = range(1, 13)
_ORDER: Final = (TYPE, IMPORT, FUNCTION, TABLE, MEMORY, 13, GLOBAL, EXPORT, START, ELEMENT, DATA_COUNT, CODE, DATA)


def unsigned(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """LEB128 with sign."""
    out = bytearray()
    while not -64 <= value <= 63:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def read_unsigned(data: bytes, position: int) -> tuple[int, int]:
    """A value and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    """Identifier and content of each section."""
    position = len(PREAMBLE)
    while position < len(module):
        kind = module[position]
        size, position = read_unsigned(module, position + 1)
        yield kind, module[position : position + size]
        position += size


def join(parts: Mapping[int, bytes]) -> bytes:
    """A module of these sections, in their order."""
    return PREAMBLE + b"".join(
        bytes((kind,)) + unsigned(len(parts[kind])) + parts[kind] for kind in _ORDER if kind in parts
    )


def with_items(content: bytes, *items: bytes) -> bytes:
    """A section's content with `items` behind those that it has; ``b""`` for a section that is not there."""
    count, position = read_unsigned(content or b"\0", 0)
    return unsigned(count + len(items)) + content[position:] + b"".join(items)


def export_item(name: str, kind: int, index: int) -> bytes:
    """An item of the export section; `kind` as in :mod:`.modules`."""
    return unsigned(len(name)) + name.encode() + bytes((kind,)) + unsigned(index)


def read_limits(data: bytes, position: int) -> tuple[int, int | None, int]:
    """Minimum, maximum and the position after them."""
    bounded = data[position] & 1
    minimum, position = read_unsigned(data, position + 1)
    if not bounded:
        return minimum, None, position
    maximum, position = read_unsigned(data, position)
    return minimum, maximum, position
