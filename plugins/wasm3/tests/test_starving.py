"""What this machine does not give is told to no program: the run says nothing about the job then."""

from __future__ import annotations

import pytest
from plasm_wasm3.hooks import open_wasm3
from plasm_wasm3.options import Wasm3Options

from plasm.testing import make_scope
from tests.engines.starving import (
    CrampedProcess,
    LimitedProcess,
    check_that_a_refused_memory_is_no_answer,
    check_that_nothing_begins_without_what_its_limits_allow,
)

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.anyio
async def test_a_job_whose_memory_the_node_was_not_given_does_not_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plasm_cells.warmparents.subprocess.Popen", LimitedProcess)
    async with open_wasm3(make_scope(), Wasm3Options(slots=1, spares=0)) as runtime:
        await check_that_nothing_begins_without_what_its_limits_allow(runtime)


@pytest.mark.anyio
async def test_memory_that_the_machine_refuses_is_a_cell_that_died_and_never_a_refused_growth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plasm_cells.warmparents.subprocess.Popen", CrampedProcess)
    async with open_wasm3(make_scope(), Wasm3Options(slots=1, spares=0)) as runtime:
        await check_that_a_refused_memory_is_no_answer(runtime)
