"""A module whose memory is empty gets error numbers from each host function, and no node fails by it."""

from __future__ import annotations

from typing import Any

import pytest

from plasm.ports import Verdict
from tests.engines.empty_memory import exit_codes, programs

PROGRAMS, CODES = programs(), exit_codes()


@pytest.mark.anyio
async def test_each_function_returns_what_the_layer_says_where_there_is_no_memory(bench: Any) -> None:
    async with bench.open(slots=1) as runtime:
        for name, module in PROGRAMS.items():
            outcome = await bench.run(runtime, module)
            assert (outcome.verdict, outcome.exit_code) == (Verdict.EXITED, CODES[name]), (name, outcome)
