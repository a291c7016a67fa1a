"""What this machine does not give is told to no program: the run says nothing about the job then."""

from __future__ import annotations

from pathlib import Path

import pytest
from plasm_wasmer.hooks import open_wasmer
from plasm_wasmer.options import WasmerOptions

from plasm.testing import make_scope
from tests.engines.starving import LimitedProcess, check_that_nothing_begins_without_what_its_limits_allow


@pytest.mark.anyio
async def test_a_job_whose_memory_the_node_was_not_given_does_not_begin(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plasm_cells.warmparents.subprocess.Popen", LimitedProcess)
    async with open_wasmer(make_scope(home=home), WasmerOptions(slots=1, spares=0)) as runtime:
        await check_that_nothing_begins_without_what_its_limits_allow(runtime)
