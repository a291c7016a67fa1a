"""The table of instructions knows what wasmtime's validator knows, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from plasm_cell import instructions
from plasm_cell.binary import unsigned
from plasm_cell.instructions import ELSE, END, INSTRUCTIONS, MISCELLANEOUS, VECTOR, Unknown, read


def _engine() -> wasmtime.Engine:
    """Without the proposals that only wasmtime has."""
    config = wasmtime.Config()
    for name in ("gc", "function_references", "exceptions", "multi_memory", "threads", "relaxed_simd", "memory64"):
        setattr(config, f"wasm_{name}", False)
    return wasmtime.Engine(config)


_ENGINE = _engine()
_KNOWN_TO_WASMTIME_ONLY = frozenset(
    (
        *range(0x06, 0x0B),
        *range(0x14, 0x1A),
        *range(0x1D, 0x20),
        *range(0xD3, 0xD7),
        *(MISCELLANEOUS << 16 | number for number in (18, *range(19, 23))),
        *(VECTOR << 16 | number for number in range(0x100, 0x200)),
    )
)
"""Exceptions, typed references, relaxed vectors, wide arithmetic: what the rewriters leave alone."""
_LONGEST = 22
"""Bytes of an instruction: prefix, number and a vector's constant."""
_IMMEDIATES = bytes(40), b"\x40" * 40, b"\1\0\0" + bytes(40), b"\x70" * 40, b"\1\x7f" + bytes(40), b"\x80" + bytes(40)
_BYTES = st.sampled_from((0, 0, 0, 1, 2, 0x3F, 0x40, 0x6F, 0x70, 0x7B, 0x7F, 0x80, 0x81, 0xC0, 0xFF)) | st.integers(
    0, 255
)


def _codes() -> Iterator[int]:
    yield from (code for code in range(0x100) if code not in (0xFB, MISCELLANEOUS, VECTOR, 0xFE, 0xFF))
    yield from (MISCELLANEOUS << 16 | number for number in range(40))
    yield from (VECTOR << 16 | number for number in range(0x180))


def _encoded(code: int) -> bytes:
    return bytes((code >> 16,)) + unsigned(code & 0xFFFF) if code >> 16 else bytes((code,))


def _module(code: bytes) -> bytes:
    """Whose only function is unreachable from its beginning, so that operands are there whatever is wanted."""

    def section(kind: int, content: bytes) -> bytes:
        return bytes((kind,)) + unsigned(len(content)) + content

    body = b"\x02\x02\x7f\x02\x7b" + b"\0" + code
    return (
        b"\0asm\1\0\0\0"
        + section(1, b"\1\x60\0\0")
        + section(3, b"\1\0")
        + section(4, b"\2\x70\0\1\x70\0\1")
        + section(5, b"\1\0\1")
        + section(6, b"\2\x7f\1\x41\0\x0b\x7f\1\x41\0\x0b")
        + section(9, b"\1\1\0\1\0")
        + section(12, b"\2")
        + section(10, b"\1" + unsigned(len(body)) + body)
        + section(11, b"\2\1\1x\1\1x")
    )


def _length_by_wasmtime(code: bytes) -> int | None:
    """After how many bytes of `code` wasmtime looks for the next instruction; ``None`` where it does not read it."""
    for length in range(1, min(len(code), _LONGEST)):
        module = _module(code[:length] + b"\xff")
        try:
            wasmtime.Module.validate(_ENGINE, module)
        except wasmtime.WasmtimeError as error:
            if "illegal opcode: 0xff" in str(error):
                return length
    return None


@pytest.mark.parametrize("code", _codes(), ids=hex)
def test_each_instruction_is_as_long_as_it_is_to_wasmtime_or_not_known(code: int) -> None:
    seen = False
    for immediates in _IMMEDIATES:
        given_code = _encoded(code) + immediates
        expected = _length_by_wasmtime(given_code)
        try:
            length = read(given_code, 0, len(given_code))[2]
        except Unknown:
            assert expected is None or code in _KNOWN_TO_WASMTIME_ONLY
        else:
            assert expected in (length, None)
            seen = seen or expected is not None
    # They end the block that is there for the others.
    assert seen == (code in INSTRUCTIONS) or code in (ELSE, END)


@pytest.mark.parametrize("immediates", sorted({known.immediates for known in INSTRUCTIONS.values()}))
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_follows_an_instruction_is_read_as_wasmtime_reads_it(immediates: str, data: st.DataObject) -> None:
    codes = [code for code, known in INSTRUCTIONS.items() if known.immediates == immediates]
    given_code = _encoded(data.draw(st.sampled_from(codes))) + data.draw(st.lists(_BYTES, max_size=20).map(bytes))
    expected = _length_by_wasmtime(given_code + b"\0")
    try:
        length: int | None = read(given_code + b"\0", 0, len(given_code) + 1)[2]
    except Unknown:
        length = None
    assert expected in (length, None)


@given(data=st.data())
def test_runs_of_instructions_are_matched_as_they_are_read(data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.sampled_from(sorted(INSTRUCTIONS)), min_size=1, max_size=5, unique=True))
    codes = [code for code in codes if not set(INSTRUCTIONS[code].immediates) & {"l", "t"}]
    content = b"".join(map(_encoded, codes)) + data.draw(st.lists(_BYTES, max_size=30).map(bytes)) + bytes(20)
    found = re.compile(instructions.pattern(codes or [0]), re.DOTALL).match(content)
    if found is not None:
        assert read(content, 0, len(content))[2] == found.end()


@pytest.mark.parametrize(
    "content", [b"", b"\x41", b"\x41\x80", b"\x44" + bytes(7), b"\xfd", b"\x0e\x05\0", b"\x0e\xff\xff\xff\xff\x0f"]
)
def test_what_is_cut_off_is_not_known(content: bytes) -> None:
    with pytest.raises(Unknown):
        read(content, 0, len(content))
    with pytest.raises(Unknown):
        read(content + bytes(20), 0, len(content))
