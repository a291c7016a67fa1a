"""The same module by bare wasmtime-py: compiled once in a process, a store and an instance of its own for each job."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import wasmtime
from plasm_wasmtime.engine import configure

HELLO = Path(__file__).parents[2] / "examples" / "hello.wasm"
_LONGEST_OUTPUT = 65536


class WrongResult(Exception):
    """A job's output is not its input back to front."""


@functools.cache
def _compiled(path: Path) -> tuple[wasmtime.Engine, wasmtime.InstancePre]:
    engine = wasmtime.Engine(configure())
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    return engine, linker.instantiate_pre(wasmtime.Module.from_file(engine, str(path)))


def run_hello(stdin: bytes) -> bytes:
    """What hello.wasm writes for `stdin`. Also what Dask's workers run, each of which compiles it once."""
    engine, program = _compiled(HELLO)
    # Not wasmtime-py's callback for output: it runs on a thread of the engine's, which then dies with the interpreter.
    given, written = os.memfd_create("stdin"), os.memfd_create("stdout")
    try:
        os.write(given, stdin)
        with wasmtime.Store(engine) as store, wasmtime.WasiConfig() as wasi:
            wasi.argv = ["hello.wasm"]
            wasi.stdin_file = f"/proc/self/fd/{given}"
            wasi.stdout_file = f"/proc/self/fd/{written}"
            store.set_wasi(wasi)
            store.set_fuel((1 << 63) - 1)
            start = program.instantiate(store).exports(store)["_start"]
            assert isinstance(start, wasmtime.Func)
            start(store)
        return os.pread(written, _LONGEST_OUTPUT, 0)
    finally:
        os.close(given)
        os.close(written)


def check(stdin: bytes, stdout: bytes) -> None:
    """Raises :exc:`WrongResult`."""
    if stdout != stdin[::-1]:
        raise WrongResult(f"{stdin!r} came back as {stdout[:80]!r}")
