"""Modules by bare wasmtime-py with its default settings: compiled once in a process, with a store for each run."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import wasmtime

from tests.bench.programs import HELLO, binary

_LONGEST_OUTPUT = 1 << 20


class WrongResult(Exception):
    """A job's output is not what it should be."""


@functools.cache
def _compiled(path: Path) -> tuple[wasmtime.Engine, wasmtime.InstancePre]:
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    return engine, linker.instantiate_pre(wasmtime.Module(engine, binary(path)))


def run(path: Path, stdin: bytes = b"") -> bytes:
    """What the module in `path` writes for `stdin`."""
    engine, program = _compiled(path)
    # Not wasmtime-py's callback for output: it runs on a thread of the engine's, which then dies with the interpreter.
    given, written = os.memfd_create("stdin"), os.memfd_create("stdout")
    try:
        os.write(given, stdin)
        with wasmtime.Store(engine) as store, wasmtime.WasiConfig() as wasi:
            wasi.argv = ["module.wasm"]
            wasi.stdin_file = f"/proc/self/fd/{given}"
            wasi.stdout_file = f"/proc/self/fd/{written}"
            store.set_wasi(wasi)
            start = program.instantiate(store).exports(store)["_start"]
            assert isinstance(start, wasmtime.Func)
            start(store)
        return os.pread(written, _LONGEST_OUTPUT, 0)
    finally:
        os.close(given)
        os.close(written)


def run_hello(stdin: bytes) -> bytes:
    """What hello.wasm writes for `stdin`. Also what the workers of Dask and Ray run, each of which compiles it once."""
    return run(HELLO, stdin)


def bare_jobs(count: int) -> list[float]:
    """Seconds of each of `count` jobs in this process."""
    latencies = []
    for number in range(count):
        stdin = b"job %d" % number
        began = time.monotonic()
        stdout = run_hello(stdin)
        latencies.append(time.monotonic() - began)
        check(stdin, stdout)
    return latencies


def check(stdin: bytes, stdout: bytes) -> None:
    """That it is the input back to front. Raises :exc:`WrongResult`."""
    if stdout != stdin[::-1]:
        raise WrongResult(f"{stdin!r} came back as {stdout[:80]!r}")
