"""The programs that are measured do what the measurements take them to do."""

from __future__ import annotations

import pytest
import wasmtime

from tests.bench.bare import run
from tests.bench.programs import WRITE, generated


@pytest.mark.parametrize("count", [0, 1, 250])
def test_as_many_bytes_are_written_as_asked(count: int) -> None:
    assert run(WRITE, str(count).encode()) == b"." * count


def test_a_generated_module_is_always_the_same_and_unlike_the_next() -> None:
    assert generated(20, 1) == generated(20, 1) != generated(20, 2)
    wasmtime.Module.validate(wasmtime.Engine(), generated(20, 1))


def test_a_generated_module_is_as_large_as_it_has_functions() -> None:
    assert 100_000 < len(generated(500, 1)) < 200_000
