"""What cannot run is refused when it is prepared, in one clear line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import wasmtime
from plasm_cells.preamble import check_preamble

from plasm.ports import NotPrepared, NotRunnable, Verdict

pytestmark = pytest.mark.anyio

COMPONENT = b"\0asm\x0d\0\1\0"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\x7fELF" + bytes(100), "does not begin with"),
        (b"(module)", "WebAssembly text"),
        (b"\0asm", "truncated"),
        (COMPONENT, "component"),
        (b"\0asm\2\0\0\0", "version"),
        (bytes(65), "does not begin with"),
    ],
)
def test_the_first_bytes_are_looked_at_before_any_process_is_used(content: bytes, reason: str) -> None:
    with pytest.raises(NotRunnable, match=reason):
        check_preamble(content, 1000)


def test_a_bound_of_this_node_says_nothing_of_the_module() -> None:
    with pytest.raises(NotPrepared, match="1008 bytes; module_bytes of this node's runtime is 1000"):
        check_preamble(b"\0asm\1\0\0\0" + bytes(1000), 1000)
    with pytest.raises(NotRunnable, match="does not begin with"):
        check_preamble(bytes(1008), 1000)


def _text(source: str) -> Callable[[Any], bytes]:
    return lambda _bench: bytes(wasmtime.wat2wasm(source))


REFUSED: list[tuple[Callable[[Any], bytes], str]] = [
    (lambda bench: bench.hello[:-7], "not a valid WebAssembly module: "),
    (lambda bench: bench.hello + b"\xff", "not a valid WebAssembly module"),
    (lambda bench: bench.module("no-start"), "no function _start"),
    (lambda bench: bench.module("no-memory"), "no memory"),
    (lambda bench: bench.module("missing-import"), "only wasi_snapshot_preview1 is provided"),
    (lambda bench: bench.module("missing-wasi-function"), "has no such function"),
    (lambda bench: bench.module("other-signature"), "another signature"),
    (_text('(module (memory (export "memory") 1 1 shared) (func (export "_start")))'), "thread"),
    (_text('(module (memory (export "memory") i64 1) (func (export "_start")))'), "memory64"),
    (_text('(module (memory (export "memory") 1) (func (export "_start") (param i32)))'), "parameters or results"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
async def test_a_module_that_cannot_run_is_refused_with_one_clear_line(
    bench: Any, make: Callable[[Any], bytes], reason: str
) -> None:
    content = make(bench)
    async with bench.open(spares=0) as runtime:
        with pytest.raises(NotRunnable, match=reason) as refusal:
            await runtime.prepare(bench.digest(content), content)
        line = str(refusal.value)
        assert line.isascii()
        assert line.isprintable()
        assert not runtime.prepared(bench.digest(content))
        await bench.check_honest(runtime)


def _nested(depth: int) -> bytes:
    """A module whose function holds `depth` blocks, one in another."""

    def sized(content: bytes) -> bytes:
        length, size = len(content), b""
        while True:
            length, digit = length >> 7, length & 0x7F
            size += bytes([digit | (0x80 if length else 0)])
            if not length:
                return size + content

    body = sized(b"\0" + b"\x02\x40" * depth + b"\x0b" * depth + b"\x0b")
    return (
        b"\0asm\1\0\0\0"
        + (b"\1" + sized(b"\1\x60\0\0"))
        + (b"\3" + sized(b"\1\0"))
        + (b"\5" + sized(b"\1\0\1"))
        + (b"\7" + sized(b"\2\6_start\0\0\6memory\2\0"))
        + (b"\x0a" + sized(b"\1" + body))
    )


async def test_a_deeply_nested_module_ends_well_or_is_refused(bench: Any) -> None:
    nested = _nested(100_000)
    async with bench.open(spares=0, compile_seconds=15.0) as runtime:
        try:
            outcome = await bench.run(runtime, nested)
        except (NotRunnable, NotPrepared):
            pass
        else:
            assert outcome.verdict is Verdict.EXITED
        await bench.check_honest(runtime)


async def test_a_huge_module_is_refused_by_its_size(bench: Any) -> None:
    async with bench.open(spares=0, module_bytes=1 << 20) as runtime:
        content = bench.hello + bytes(1 << 20)
        with pytest.raises(NotPrepared, match="module_bytes of this node's runtime is 1048576"):
            await runtime.prepare(bench.digest(content), content)
        await bench.check_honest(runtime)


def _many_functions(count: int) -> bytes:
    functions = "(func (result i32) i32.const 1)" * count
    return bytes(wasmtime.wat2wasm(f'(module (memory (export "memory") 1) (func (export "_start")) {functions})'))


async def test_a_module_that_takes_too_long_to_compile_is_given_up(bench: Any) -> None:
    bomb = _many_functions(100_000)
    async with bench.open(spares=0, compile_seconds=0.3) as runtime:
        with pytest.raises(NotPrepared, match=r"more than 0.3 s \(compile_seconds\)"):
            await runtime.prepare(bench.digest(bomb), bomb)
        assert not runtime.prepared(bench.digest(bomb))
    async with bench.open(spares=0) as runtime:
        await bench.check_honest(runtime)


async def test_a_module_that_takes_too_much_memory_to_compile_is_given_up(bench: Any) -> None:
    bomb = _many_functions(100_000)
    async with bench.open(spares=0, compile_memory_bytes=128 << 20) as runtime:
        with pytest.raises(NotPrepared, match="compile_memory_bytes"):
            await runtime.prepare(bench.digest(bomb), bomb)
        await bench.check_honest(runtime)
