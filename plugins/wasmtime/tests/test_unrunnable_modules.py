"""What cannot run is refused when it is prepared, in one clear line."""

from __future__ import annotations

from typing import Any

import pytest
import wasmtime
from conftest import HELLO, Bench, converted, digest_of
from plasm_wasmtime.modules import check_preamble

from plasm.ports import NotRunnable, RuntimeFailed, Verdict

pytestmark = pytest.mark.anyio

COMPONENT = b"\0asm\x0d\0\1\0"


@pytest.fixture(params=["trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


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
        (b"\0asm\1\0\0\0" + bytes(1000), "1008 bytes"),
    ],
)
def test_the_first_bytes_are_looked_at_before_any_process_is_used(content: bytes, reason: str) -> None:
    with pytest.raises(NotRunnable, match=reason):
        check_preamble(content, 1000)


REFUSED = [
    (HELLO[:-7], "not a valid WebAssembly module"),
    (HELLO + b"\xff", "not a valid WebAssembly module"),
    (converted("no-start"), "no function _start"),
    (converted("no-memory"), "no memory"),
    (converted("missing-import"), "only wasi_snapshot_preview1 is provided"),
    (converted("missing-wasi-function"), "has no such function"),
    (converted("other-signature"), "another signature"),
    (bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1 1 shared) (func (export "_start")))')), "thread"),
    (bytes(wasmtime.wat2wasm('(module (memory (export "memory") i64 1) (func (export "_start")))')), "memory64"),
    (
        bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start") (param i32)))')),
        "parameters or results",
    ),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
async def test_a_module_that_cannot_run_is_refused_with_one_clear_line(
    bench: Bench, content: bytes, reason: str
) -> None:
    async with bench.open(spares=0) as runtime:
        with pytest.raises(NotRunnable, match=reason) as refusal:
            await runtime.prepare(digest_of(content), content)
        line = str(refusal.value)
        assert line.isascii()
        assert line.isprintable()
        assert not runtime.prepared(digest_of(content))
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


async def test_a_deeply_nested_module_ends_well_or_is_refused(bench: Bench) -> None:
    nested = _nested(500_000)
    async with bench.open(spares=0, compile_seconds=15.0) as runtime:
        try:
            outcome = await bench.run(runtime, nested)
        except (NotRunnable, RuntimeFailed) as refusal:
            assert str(refusal).isprintable()
        else:
            assert outcome.verdict is Verdict.EXITED
        await bench.check_honest(runtime)


async def test_a_huge_module_is_refused_by_its_size(bench: Bench) -> None:
    async with bench.open(spares=0, module_bytes=1 << 20) as runtime:
        content = HELLO + bytes(1 << 20)
        with pytest.raises(NotRunnable, match="this node takes 1048576"):
            await runtime.prepare(digest_of(content), content)
        await bench.check_honest(runtime)


def _many_functions(count: int) -> bytes:
    functions = "(func (result i32) i32.const 1)" * count
    return bytes(wasmtime.wat2wasm(f'(module (memory (export "memory") 1) (func (export "_start")) {functions})'))


async def test_a_module_that_takes_too_long_to_compile_is_given_up(bench: Bench) -> None:
    bomb = _many_functions(100_000)
    async with bench.open(spares=0, compile_seconds=0.3) as runtime:
        with pytest.raises(RuntimeFailed, match=r"more than 0.3 s"):
            await runtime.prepare(digest_of(bomb), bomb)
        assert not runtime.prepared(digest_of(bomb))
    async with bench.open(spares=0) as runtime:
        await bench.check_honest(runtime)


async def test_a_module_that_takes_too_much_memory_to_compile_is_given_up(bench: Bench) -> None:
    bomb = _many_functions(100_000)
    async with bench.open(spares=0, compile_memory_bytes=128 << 20) as runtime:
        with pytest.raises(RuntimeFailed, match="compil"):
            await runtime.prepare(digest_of(bomb), bomb)
        await bench.check_honest(runtime)
