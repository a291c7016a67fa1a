"""The plugin describes itself without loading the engine, and says what its engine cannot do."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from plasm_wasm3 import hooks
from plasm_wasm3.options import Wasm3Options

from plasm.ports import Invocation, Limits, RuntimeFailed, Verdict
from plasm.testing import make_scope, modules


def test_the_driver_is_offered_under_its_entry_point() -> None:
    (entry,) = importlib.metadata.entry_points(group="plasm", name="wasm3")
    assert entry.load() is hooks
    (driver,) = hooks.plasm_runtimes()
    assert driver.name == "wasm3"
    assert driver.options is Wasm3Options


def test_describing_loads_neither_engine_nor_cells() -> None:
    program = (
        "import sys, plasm_wasm3.hooks\n"
        "assert not {'wasm3', 'plasm_wasm3.engine', 'plasm_wasm3.runtime', 'plasm_cells.runtime'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.usefixtures("engine")
@pytest.mark.anyio
async def test_a_limit_on_fuel_is_refused_with_the_reason() -> None:
    async with hooks.open_wasm3(make_scope(), Wasm3Options(slots=1)) as runtime:
        await runtime.prepare(modules.ECHO.digest, modules.ECHO.wasm)
        with pytest.raises(RuntimeFailed, match="fuel"):
            await runtime.run(Invocation(module=modules.ECHO.digest, limits=Limits(fuel=10**9)))


@pytest.mark.usefixtures("engine")
@pytest.mark.anyio
async def test_a_kept_cell_gives_each_job_its_own_outcome() -> None:
    async with hooks.open_wasm3(make_scope(), Wasm3Options(slots=1, isolation="reused")) as runtime:
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
