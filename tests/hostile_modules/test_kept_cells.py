"""A cell that was to be kept for the next job of a trusted peer, and that says what no cell says, is not kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plasm.ports import Verdict
from tests.hostile_modules.cells import Cells, Targets, opened


@pytest.fixture(scope="module")
def cells(targets: Targets) -> Iterator[Cells]:
    with opened(targets, isolation="reused") as cells:
        yield cells


@pytest.mark.parametrize("said", ["noise", "a file above", "sizes that are not the body's", "half a frame"])
def test_the_next_job_gets_another_cell(cells: Cells, said: str) -> None:
    outcome = cells.attempt(said, wall_seconds=1, trusted=True)
    assert outcome.verdict in (Verdict.CELL_DIED, Verdict.TIMED_OUT)


def test_what_follows_an_outcome_is_not_taken_for_the_next_ones(cells: Cells) -> None:
    outcome = cells.attempt("more after the outcome", trusted=True)
    assert outcome.verdict is Verdict.EXITED
    assert outcome.isolation == "reused"
