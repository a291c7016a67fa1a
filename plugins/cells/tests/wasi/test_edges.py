"""A function of the layer that meets a value which nobody thought of returns an error number and raises nothing."""

from __future__ import annotations

import struct

import pytest
from plasm_cell import wasi
from plasm_cell.wasi.errors import BADF, FAULT


def _layer() -> wasi.Wasi:
    return wasi.Wasi(
        args=[],
        env=[],
        stdin=b"",
        output_bytes=10,
        host_calls=1000,
        clock=wasi.VirtualClock(bytes(32)),
        random=wasi.SeededRandom(bytes(32)),
    )


@pytest.mark.parametrize("name", ["fd_fdstat_get", "fd_filestat_get", "fd_prestat_get", "clock_res_get"])
def test_a_result_does_not_fit_into_no_memory(name: str) -> None:
    first = 3 if name == "fd_prestat_get" else 0
    assert wasi.call(_layer(), getattr(wasi.Wasi, name), (first, 0)) == FAULT


@pytest.mark.parametrize(
    "edge", [TypeError, ValueError, IndexError, KeyError, OverflowError, ZeroDivisionError, BufferError, struct.error]
)
def test_what_python_says_of_a_value_that_does_not_fit_is_the_guests_fault(edge: type[Exception]) -> None:
    def function(_layer: wasi.Wasi) -> int:
        raise edge

    assert wasi.call(_layer(), function, ()) == FAULT


@pytest.mark.parametrize("lack", [MemoryError, RecursionError, OSError, AssertionError])
def test_what_the_machine_lacks_is_no_error_number(lack: type[Exception]) -> None:
    def function(_layer: wasi.Wasi) -> int:
        raise lack

    with pytest.raises(lack):
        wasi.call(_layer(), function, ())


def test_a_failure_keeps_its_own_number() -> None:
    assert wasi.call(_layer(), wasi.Wasi.fd_close, (77,)) == BADF
