"""What this machine does not give is told to no program: the run says nothing about the job then."""

from __future__ import annotations

import pytest
from plasm_wasm3.hooks import open_wasm3
from plasm_wasm3.options import Wasm3Options

from plasm.testing import make_scope
from tests.engines.starving import LimitedProcess, check_that_the_machine_is_no_answer


@pytest.mark.anyio
async def test_memory_that_the_machine_does_not_give_is_a_cell_that_died_and_never_a_refused_growth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plasm_cells.warmparents.subprocess.Popen", LimitedProcess)
    async with open_wasm3(make_scope(), Wasm3Options(slots=1, spares=0)) as runtime:
        await check_that_the_machine_is_no_answer(runtime)
