"""A minute of mixed jobs and a minute of kills of cells: nothing is lost, mixed up or left behind in that time."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import anyio
import pytest

from plasm.ports import Verdict
from tests.soak.__main__ import Soaks, config_of
from tests.soak.cases import MIXED, Deck
from tests.soak.figures import Figures
from tests.soak.targets import KINDS

SECONDS = 60.0
"""Of each part, setting up aside."""
PARTS = ("mixed", "cells")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="cells need Linux"),
    pytest.mark.timeout(SECONDS + 280),
]


@pytest.mark.skipif("PLASM_SOAK" not in os.environ, reason="takes minutes: .ci/run runs it, and PLASM_SOAK=1")
@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.anyio
async def test_a_part_of_the_soak_finds_nothing(part: str, tmp_path: Path) -> None:
    figures = Figures()
    soaks = Soaks(tmp_path, config_of("cell"), secrets.token_hex(4), 0, 0, figures)
    await soaks.make(part).go(SECONDS, anyio.Event(), lambda line: None)
    assert figures.passed, figures.as_table()
    if figures.cells is not None:
        assert set(figures.cells.kills) == set(KINDS)


def test_mixed_jobs_have_every_verdict_that_does_not_come_of_a_kill() -> None:
    deck = Deck("run")
    assert {deck.case(kind, 1).verdict for kind in MIXED} == set(Verdict) - {Verdict.CELL_DIED}
