"""What cells learn of a module without an engine: read within bounds, checked the same way for all engines."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st
from plasm_cell.binary import PREAMBLE, unsigned
from plasm_cell.engine import Refused
from plasm_cell.modules import FUNCTION, MEMORY, check, parse

HELLO = (Path(__file__).parents[3] / "examples" / "hello.wasm").read_bytes()
MODULES = sorted((Path(__file__).parents[3] / "tests" / "modules").glob("*.wat"))


def _binary(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


COMMAND = '(memory (export "memory") 1) (func (export "_start"))'


def test_imports_exports_memories_and_the_start_section_are_found() -> None:
    module = check(HELLO)
    assert {item.module for item in module.imports} == {"wasi_snapshot_preview1"}
    assert (module.exports["_start"][0], module.exports["memory"][0]) == (FUNCTION, MEMORY)
    assert not module.starts
    assert check(_binary(f"(module {COMMAND} (start 0))")).starts
    found = parse(_binary("(module (memory 2 7) (table 3 funcref) (table 1 9 externref))"))
    assert [(limits.minimum, limits.maximum) for limits in found.memories] == [(2, 7)]
    assert [(limits.minimum, limits.maximum) for limits in found.tables] == [(3, None), (1, 9)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_the_engine_takes_can_be_read(path: Path) -> None:
    parse(_binary(path.read_text()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('(module (memory (export "memory") 1))', "no function _start"),
        ('(module (func (export "_start")))', "no memory"),
        ('(module (memory (export "memory") 1) (global (export "_start") i32 (i32.const 0)))', "no function _start"),
        ('(module (memory (export "memory") 1) (func (export "_start") (result i32) i32.const 0))', "parameters"),
        (f'(module (import "env" "x" (func)) {COMMAND})', "only wasi_snapshot_preview1"),
        ('(module (import "env" "m" (memory 1)) (func (export "_start")))', "only wasi_snapshot_preview1"),
        (f'(module (import "wasi_snapshot_preview1" "nothing" (func)) {COMMAND})', "no such function"),
        (f'(module (import "wasi_snapshot_preview1" "fd_close" (func)) {COMMAND})', "another signature"),
        (f'(module (import "wasi_snapshot_preview1" "fd_close" (global i32)) {COMMAND})', "no such function"),
        ('(module (memory (export "memory") 1 1 shared) (func (export "_start")))', "threads"),
        ('(module (memory (export "memory") i64 1) (func (export "_start")))', "memory64"),
        ('(module (memory (export "memory") 1) (memory 1) (func (export "_start")))', "more than one memory"),
        (f"(module (type (struct)) {COMMAND})", "structures"),
    ],
)
def test_what_no_cell_runs_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        check(_binary(text))


@pytest.mark.parametrize(
    "content", [b"", PREAMBLE[:-1], PREAMBLE + b"\1", PREAMBLE + b"\1\xff\xff\xff\xff\x7f", HELLO[:-7]]
)
def test_what_is_cut_off_is_refused(content: bytes) -> None:
    with pytest.raises(Refused, match="not a"):
        check(content)


def _sections(**contents: bytes) -> bytes:
    """A command with these contents in place of its own, by the section's name."""
    kinds = {"type": 1, "function": 3, "memory": 5, "globals": 6, "exports": 7, "code": 10, "data": 11, "other": 14}
    parts = {
        "type": b"\1\x60\0\0",
        "function": b"\1\0",
        "memory": b"\1\0\1",
        "exports": b"\2\6_start\0\0\6memory\2\0",
        "code": b"\1\2\0\x0b",
    } | contents
    return PREAMBLE + b"".join(
        bytes((kind,)) + unsigned(len(parts[name])) + parts[name] for name, kind in kinds.items() if name in parts
    )


def _code(body: bytes) -> bytes:
    return b"\1" + unsigned(len(body) + 2) + b"\0" + body + b"\x0b"


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ({"code": _code(b"\x02\x40" * 10_001 + b"\x0b" * 10_001)}, "more than 10000 blocks in each other"),
        ({"code": _code(b"\x41\0\x04\x40" * 10_001 + b"\x0b" * 10_001)}, "more than 10000 blocks in each other"),
        ({"code": _code(b"\1" * 7_654_322)}, "function of more than 7654321 bytes"),
        ({"function": unsigned(250_001) + bytes(250_001)}, "more than 250000 functions"),
        ({"globals": unsigned(250_001)}, "more than 250000 globals"),
        ({"data": unsigned(100_001)}, "more than 100000 data segments"),
        ({"type": b"\1\x60" + unsigned(1001) + b"\x7f" * 1001 + b"\0"}, "more than 1000 parameters"),
        ({"type": b"\1\x60\0" + unsigned(1001) + b"\x7f" * 1001}, "more than 1000 results"),
        ({"exports": b"\1" + unsigned(100_001) + b"a" * 100_001 + b"\0\0"}, "a name is too long"),
        ({"other": b""}, "a section is of a kind that is not known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_beyond_the_bounds_of_all_engines_is_refused(contents: dict[str, bytes], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        check(_sections(**contents))


@pytest.mark.parametrize(
    "body",
    [
        b"\x02\x40" * 10_000 + b"\x0b" * 10_000,
        b"\x02\x40\x0b" * 20_000,
        b"\x41\x02\x1a" * 20_000,
        b"\x43\2\2\2\2\x1a" * 5_000,
    ],
    ids=["as deep as may be", "one after another", "numbers", "floats"],
)
def test_blocks_are_counted_where_they_are_in_each_other(body: bytes) -> None:
    assert not check(_sections(code=_code(body))).throws


def test_tags_are_found() -> None:
    assert check(_binary(f"(module (tag) {COMMAND})")).throws


def test_the_bounds_of_memories_and_tables_are_read() -> None:
    for declared, maximum in (("1", None), ("1 5", 5), ("1 100", 100), ("10 10", 10)):
        (limits,) = parse(_binary(f'(module (memory (export "memory") {declared}) (func (export "_start")))')).memories
        assert (limits.minimum, limits.maximum) == (int(declared.split()[0]), maximum)
    tables = parse(_binary("(module (table 1 funcref) (table 2 5 externref))")).tables
    assert [limits.maximum for limits in tables] == [None, 5]


@given(st.data())
def test_any_change_to_a_module_is_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(HELLO[: data.draw(st.integers(8, len(HELLO)))])
    for _ in range(data.draw(st.integers(1, 5))):
        # The first sections hold what is looked at.
        position = data.draw(st.integers(8, min(len(changed), 400)))
        changed[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(Refused):
        check(bytes(changed))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(Refused):
        check(PREAMBLE + content)
