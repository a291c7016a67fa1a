"""The plugin describes itself without loading the engine, and says what its engine cannot do."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from plasm_wasmer import hooks
from plasm_wasmer.options import WasmerOptions

from plasm.ports import Invocation, Limits, RuntimeFailed, Verdict
from plasm.testing import make_scope, modules


def test_the_driver_is_offered_under_its_entry_point() -> None:
    (entry,) = importlib.metadata.entry_points(group="plasm", name="wasmer")
    assert entry.load() is hooks
    (driver,) = hooks.plasm_runtimes()
    assert driver.name == "wasmer"
    assert driver.options is WasmerOptions


def test_describing_loads_neither_engine_nor_cells() -> None:
    program = (
        "import sys, plasm_wasmer.hooks\n"
        "loaded = {'wasmer', 'plasm_wasmer.engine', 'plasm_wasmer.runtime', 'plasm_cells.runtime'} & set(sys.modules)\n"
        "assert not loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.anyio
async def test_a_limit_on_fuel_is_refused_with_the_reason(home: Path) -> None:
    async with hooks.open_wasmer(make_scope(home=home), WasmerOptions(slots=1)) as runtime:
        await runtime.prepare(modules.ECHO.digest, modules.ECHO.wasm)
        with pytest.raises(RuntimeFailed, match="fuel"):
            await runtime.run(Invocation(module=modules.ECHO.digest, limits=Limits(fuel=10**9)))


@pytest.mark.anyio
async def test_a_kept_cell_gives_each_job_its_own_outcome(home: Path) -> None:
    async with hooks.open_wasmer(make_scope(home=home), WasmerOptions(slots=1, isolation="reused")) as runtime:
        for module in (modules.ECHO, modules.GROW, modules.RANDOM):
            await runtime.prepare(module.digest, module.wasm)
        for turn in range(6):
            stdin = b"turn %d" % turn
            echoed = await runtime.run(Invocation(module=modules.ECHO.digest, stdin=stdin, trusted=True))
            assert (echoed.verdict, echoed.stdout) == (Verdict.EXITED, stdin)
            limits = Limits(memory_bytes=(turn + 2) * 2**20)
            grown = await runtime.run(Invocation(module=modules.GROW.digest, limits=limits, trusted=True))
            assert int.from_bytes(grown.stdout, "little") == (turn + 2) * 16
            assert grown.usage.peak_memory_bytes == limits.memory_bytes
