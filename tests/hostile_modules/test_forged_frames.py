"""Code that has escaped its engine speaks to the node in its cell's name: the node believes none of what cannot be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plasm.ports import NotPrepared, Verdict
from tests.hostile_modules.cells import Cells, Targets, opened
from tests.hostile_modules.escaped.frames import FORGED


@pytest.fixture(scope="module")
def cells(targets: Targets) -> Iterator[Cells]:
    with opened(targets) as cells:
        yield cells


@pytest.mark.parametrize("said", FORGED)
def test_what_no_cell_says_is_the_end_of_it(cells: Cells, said: str) -> None:
    outcome = cells.attempt(said)
    assert (outcome.verdict, outcome.exit_code, outcome.stdout, outcome.files) == (Verdict.CELL_DIED, None, b"", {})
    assert outcome.detail


@pytest.mark.parametrize("said", ["half a frame", "a byte at a time"])
def test_what_never_becomes_a_frame_ends_at_the_wall_time(cells: Cells, said: str) -> None:
    outcome = cells.attempt(said, wall_seconds=0.5)
    assert outcome.verdict is Verdict.TIMED_OUT


@pytest.mark.parametrize("said", ["more after the outcome", "descriptors for the node"])
def test_what_comes_with_an_outcome_reaches_no_other_job(cells: Cells, said: str) -> None:
    outcome = cells.attempt(said)
    assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, b"")


def test_a_cell_that_hangs_up_has_died(cells: Cells) -> None:
    outcome = cells.attempt("hang up and stay")
    assert outcome.verdict is Verdict.CELL_DIED


@pytest.mark.parametrize("said", FORGED)
def test_what_no_compiler_says_makes_no_module(cells: Cells, said: str) -> None:
    with pytest.raises(NotPrepared):
        cells.attempt(said, where="compile")
