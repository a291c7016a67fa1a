"""Modules that are made to be expensive before they run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from plasm.ports import NotPrepared, NotRunnable, Verdict
from tests.hostile_modules.bench import GRACE_SECONDS, Bench, opened

COMPILE_SECONDS = 2.0
FUNCTIONS = 100_000
MIB = 1 << 20


def leb(number: int) -> bytes:
    """Unsigned LEB128."""
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def section(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + leb(len(content)) + content


def assembled(*, functions: int = 1, pages: int = 1, data: bytes = b"", custom: int = 0, tables: bytes = b"") -> bytes:
    """A command of empty functions, the first of which is ``_start``."""
    body = b"\2\0\x0b"
    exports = b"\2" + b"\6memory\2\0" + b"\6_start\0\0"
    parts = [
        section(1, b"\1\x60\0\0"),
        section(3, leb(functions) + b"\0" * functions),
        section(4, tables) if tables else b"",
        section(5, b"\1\0" + leb(pages)),
        section(7, exports),
        section(10, leb(functions) + body * functions),
        section(11, b"\1\0\x41\0\x0b" + leb(len(data)) + data) if data else b"",
        section(0, b"\1c" + bytes(custom)) if custom else b"",
    ]
    return b"\0asm\1\0\0\0" + b"".join(parts)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("home")
    with opened(home, compile_seconds=COMPILE_SECONDS, compile_memory_bytes=512 * MIB) as bench:
        yield bench


def test_a_compile_bomb_is_stopped_at_the_limits_of_compiling(bench: Bench) -> None:
    started = time.perf_counter()
    with pytest.raises(NotPrepared, match="compiling the module"):
        bench.run(assembled(functions=FUNCTIONS))
    # The next job is run as well before this is measured.
    assert time.perf_counter() - started < 3 * COMPILE_SECONDS + 2 * GRACE_SECONDS


def test_fifty_megabytes_of_data_are_run(bench: Bench) -> None:
    outcome = bench.run(assembled(pages=900, data=b"x" * (50 * MIB)), wall_seconds=10.0)
    assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, 0)


def test_fifty_megabytes_of_data_need_the_memory(bench: Bench) -> None:
    outcome = bench.run(assembled(pages=900, data=b"y" * (50 * MIB)), wall_seconds=10.0, memory_bytes=32 * MIB)
    assert outcome.verdict is Verdict.OUT_OF_MEMORY


def test_fifty_megabytes_that_say_nothing_are_run(bench: Bench) -> None:
    outcome = bench.run(assembled(custom=50 * MIB), wall_seconds=10.0)
    assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, 0)


@pytest.mark.parametrize(
    "limits", [b"\0" + leb(1_000_000_000), b"\1" + leb(0) + leb(0xFFFFFFFF)], ids=["at once", "most"]
)
def test_tables_of_a_billion_get_no_memory(bench: Bench, limits: bytes) -> None:
    outcome = bench.run(assembled(tables=b"\4" + (b"\x70" + limits) * 4), wall_seconds=10.0)
    expected = (Verdict.EXITED, 0) if limits[0] else (Verdict.OUT_OF_MEMORY, None)
    assert (outcome.verdict, outcome.exit_code) == expected


@pytest.mark.parametrize(
    "module",
    [
        b"\0asm\1\0\0\0" + section(1, leb(0xFFFFFFFF)),
        b"\0asm\1\0\0\0" + b"\3" + leb(0xFFFFFFFF),
        b"\0asm\1\0\0\0" + section(10, leb(1) + leb(0xFFFFFFF0)),
        assembled()[:-1],
        assembled() + b"\x80" * 64,
        b"\0asm\1\0\0\0" + section(1, b"\1\x60" + leb(100_000) + b"\x7f" * 100_000 + b"\0"),
    ],
    ids=["types", "a section", "a body", "cut", "an endless number", "parameters"],
)
def test_counts_that_lie_are_refused_at_once(bench: Bench, module: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(NotRunnable):
        bench.run(module)
    assert time.perf_counter() - started < 2 * GRACE_SECONDS
