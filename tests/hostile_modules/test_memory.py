"""Memory that no resource limit counts, taken by code that has escaped its engine."""

from __future__ import annotations

import pytest
from plasm_cells import cgroups

from plasm.ports import Verdict
from tests.hostile_modules.cells import Targets, opened
from tests.hostile_modules.escaped.attempts import UNCOUNTED


@pytest.mark.parametrize("attempt", UNCOUNTED)
def test_it_is_denied_where_there_is_no_control_group(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, attempt: str
) -> None:
    # Not every machine lets a node make control groups.
    monkeypatch.setattr(cgroups, "find", lambda: None)
    with opened(targets) as cells:
        outcome = cells.attempt(attempt)
    assert outcome.verdict is Verdict.CELL_DIED or outcome.stdout.startswith(b"denied"), outcome
