"""A cell that died without a kill is noticed in the log of its node."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.soak.deaths import Deaths, read_deaths

JOB, OTHER = "ab" * 16, "cd" * 16
NOON = time.mktime((2026, 11, 24, 12, 0, 0, 0, 0, -1))
LOG = f"""\
2026-11-24 12:00:00,000 INFO plasm.node: job {JOB} accepted from somebody
2026-11-24 12:00:00,250 WARNING plasm.node: job {JOB}: attempt 2 follows: the cell died
2026-11-24 12:00:01,000 WARNING plasm.node: job {OTHER}: attempt 2 follows: processes that compile are killed
2026-11-24 12:00:02,000 WARNING plasm.node: job {JOB}: attempt 3 follows: the cell died
2026-11-24 12:00:03,500 INFO plasm.node: job {JOB} ended: cell_died
2026-11-24 12:00:04,000 INFO plasm.node: job {OTHER} ended: exited
"""


@pytest.fixture
def deaths(tmp_path: Path) -> Deaths:
    (tmp_path / "node.log").write_text(LOG)
    return read_deaths(tmp_path / "node.log")


def test_a_log_says_which_runs_died_and_when(deaths: Deaths) -> None:
    assert deaths.runs == [(NOON + 0.25, JOB), (NOON + 2, JOB), (NOON + 3.5, JOB)]
    assert deaths.other == [(OTHER, "processes that compile are killed")]
    assert deaths.attempts == {JOB: 3, OTHER: 1}


def test_a_kill_before_each_death_explains_them(deaths: Deaths) -> None:
    assert deaths.unexplained([NOON + 0.2, NOON + 0.9, NOON + 1.9, NOON + 3.4]) == []


@pytest.mark.parametrize("kills", [[], [0.2, 1.9], [0.2, 1.9, 3.6], [-60, 1.9, 3.4]])
def test_a_death_that_no_kill_explains_is_found(deaths: Deaths, kills: list[float]) -> None:
    assert deaths.unexplained([NOON + kill for kill in kills])
