"""A program that asks for memory which its limit allows, on a machine that does not give it."""

from __future__ import annotations

import resource
import subprocess
from dataclasses import replace
from typing import Any

import pytest
import wasmtime
from plasm_cells.runtime import CellRuntime

from plasm.ports import Invocation, Limits, Outcome, RuntimeFailed, Verdict
from plasm.testing.modules import digest_of

MIB = 1 << 20
LIMITS = Limits(memory_bytes=1024 * MIB, output_bytes=MIB, file_bytes=MIB, wall_seconds=60.0)
_GROWS = """
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") {pages}) (data (i32.const 0) "\\10\\00\\00\\00\\04\\00\\00\\00")
  (func (export "_start")
    (i32.store (i32.const 16) (memory.grow (i32.const {more})))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
GROWS = bytes(wasmtime.wat2wasm(_GROWS.format(pages=1, more=12000)))
"""Asks for 750 MiB and writes what it is told."""
STARTS_LARGE = bytes(wasmtime.wat2wasm(_GROWS.format(pages=12000, more=1)))
SMALL = bytes(wasmtime.wat2wasm(_GROWS.format(pages=1, more=1)))


class LimitedProcess(subprocess.Popen[bytes]):
    """To start warm parents with: as ``ulimit -d`` around the node would have it."""

    KIND = resource.RLIMIT_DATA

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named, preexec_fn=self._limit)

    @classmethod
    def _limit(cls) -> None:
        resource.setrlimit(cls.KIND, (400 * MIB, 400 * MIB))


class CrampedProcess(LimitedProcess):
    """As ``ulimit -v`` would have it, which no cell looks at before memory is refused."""

    KIND = resource.RLIMIT_AS


async def check_that_nothing_begins_without_what_its_limits_allow(runtime: CellRuntime) -> None:
    """`runtime` starts its warm parents by :class:`LimitedProcess`."""
    for module in (GROWS, STARTS_LARGE):
        with pytest.raises(RuntimeFailed, match="less memory than the job's limits allow"):
            await _run(runtime, module)
    small = replace(LIMITS, memory_bytes=MIB)
    assert (await _run(runtime, SMALL, small)).stdout == b"\1\0\0\0"


async def check_that_a_refused_memory_is_no_answer(runtime: CellRuntime) -> None:
    """`runtime` starts its warm parents by :class:`CrampedProcess`."""
    for module in (GROWS, STARTS_LARGE):
        outcome = await _run(runtime, module)
        assert (outcome.verdict, outcome.stdout) == (Verdict.CELL_DIED, b""), outcome
        assert outcome.detail == "this machine gave its process less memory than the job's limits allow"
    assert (await _run(runtime, SMALL)).stdout == b"\1\0\0\0"


async def _run(runtime: CellRuntime, module: bytes, limits: Limits = LIMITS) -> Outcome:
    await runtime.prepare(digest_of(module), module)
    return await runtime.run(Invocation(module=digest_of(module), limits=limits))
