"""A siege passes where the honest client was served in every way, about as fast as in quiet."""

from __future__ import annotations

import pytest

from tests.soak.siege.attacks import KINDS as ATTACKS
from tests.soak.siege.honest import WAYS
from tests.soak.siege.part import KINDS, Round, SiegeFigures


def round_of(seconds: float, failures: int = 0, jobs: int = 100) -> Round:
    return Round(
        seconds={way: [seconds] * jobs for way in WAYS}, failures={way: ["refused"] * failures for way in WAYS}
    )


def figures(under: Round) -> SiegeFigures:
    return SiegeFigures(quiet=round_of(0.002), rounds={"frames": under})


@pytest.mark.parametrize(
    ("under", "passed"),
    [
        (round_of(0.005), True),
        (round_of(0.007), False),
        (round_of(0.002, failures=1), True),
        (round_of(0.002, failures=2), False),
        (Round(seconds={way: [] for way in WAYS}, failures={way: ["refused"] for way in WAYS}), False),
    ],
    ids=["slower", "too slow", "one in a hundred fails", "two fail", "nothing succeeds"],
)
def test_success_and_latency_decide(under: Round, passed: bool) -> None:
    assert figures(under).passed is passed


def test_one_way_in_is_not_made_up_for_by_another() -> None:
    under = round_of(0.002)
    under.seconds["found"] = [1.0] * 100
    assert not figures(under).passed


def test_a_siege_that_did_not_begin_has_not_passed() -> None:
    assert not SiegeFigures().passed


def test_every_kind_of_attack_has_its_round() -> None:
    assert set(KINDS) == {*ATTACKS, "everything"}
