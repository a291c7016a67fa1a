"""Programs without a byte of memory that call the host: every pointer is on the edge, and no result has room."""

from __future__ import annotations

from collections.abc import Iterator

import wasmtime
from plasm_cell import wasi

_NUMBERS = (0, 1, 3, 4, 0xFFFFFFFF)
"""Of pointers, lengths, descriptors and flags: at the edge and beyond it, what is open and what is not."""
_ENDS_THE_RUN = "proc_exit"


def _calls(name: str) -> Iterator[tuple[int, ...]]:
    parameters = wasi.FUNCTIONS[name]
    for number in _NUMBERS:
        yield (number,) * len(parameters)
    for first in _NUMBERS[1:] if len(parameters) > 1 else ():
        yield (first, *(0,) * (len(parameters) - 1))


def _module(name: str) -> bytes:
    parameters = wasi.FUNCTIONS[name]
    types = " ".join("i32" if kind == "i" else "i64" for kind in parameters)
    calls = []
    for given in _calls(name):
        values = " ".join(
            f"({'i32' if kind == 'i' else 'i64'}.const {value})" for kind, value in zip(parameters, given, strict=True)
        )
        calls.append(f"(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 31)) (call $called {values})))")
    text = f"""
(module
  (import "wasi_snapshot_preview1" "{name}" (func $called (param {types}) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 0)
  (func (export "_start") (local i32) {" ".join(calls)} (call $exit (local.get 0))))"""
    return bytes(wasmtime.wat2wasm(text))


def programs() -> dict[str, bytes]:
    """By name, one for each function that returns an error number; the exit code comes from all that it returned."""
    return {f"no memory for {name}": _module(name) for name in wasi.FUNCTIONS if name != _ENDS_THE_RUN}


def exit_codes() -> dict[str, int]:
    """What each of :func:`programs` exits with, by the layer alone."""
    codes = {}
    for name in wasi.FUNCTIONS:
        if name == _ENDS_THE_RUN:
            continue
        layer = wasi.Wasi(
            args=[b"module.wasm"],
            env=[],
            stdin=b"",
            output_bytes=1000,
            host_calls=1000,
            clock=wasi.VirtualClock(bytes(32)),
            random=wasi.SeededRandom(bytes(32)),
        )
        code = 0
        for given in _calls(name):
            code = code * 31 + wasi.call(layer, getattr(wasi.Wasi, name), given)
        codes[f"no memory for {name}"] = code & 0xFF
    return codes
