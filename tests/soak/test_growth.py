"""A leak is told from noise."""

from __future__ import annotations

import random

import pytest

from tests.soak.figures import Figures, MixedFigures
from tests.soak.growth import ALLOWED, Sample, growths


def samples(rise: float, *, noise: float = 0.0, name: str = "descriptors") -> list[Sample]:
    """An hour of samples in which one quantity rises by `rise`, after a jump while everything warms up."""
    source = random.Random(1)
    found = []
    for number in range(720):
        values = dict.fromkeys(ALLOWED, 20.0)
        values[name] = 20 + rise * number / 720 - (15 if number < 100 else 0) + source.uniform(-noise, noise)
        found.append((5.0 * number, values))
    return found


def harmless(found: list[Sample], name: str = "descriptors") -> bool:
    return next(growth for growth in growths(found) if growth.name == name).harmless


@pytest.mark.parametrize("name", ALLOWED)
def test_a_leak_is_found(name: str) -> None:
    assert not harmless(samples(4 * ALLOWED[name][1], name=name), name)


def test_what_jumps_up_and_down_is_no_leak() -> None:
    assert harmless(samples(0, noise=15))


def test_a_single_outlier_is_no_leak() -> None:
    found = samples(0)
    found[-1][1]["descriptors"] = 1000
    assert harmless(found)


def test_too_few_samples_say_nothing() -> None:
    assert growths(samples(0)[:3]) == []


def test_a_soak_with_a_leak_has_failed_and_says_which() -> None:
    mixed = MixedFigures(growths=growths(samples(100)))
    mixed.jobs["hello"] = 1
    document = Figures(mixed=mixed).as_document()
    assert not document["passed"]
    assert [each["name"] for each in document["mixed"]["growth"] if not each["harmless"]] == ["descriptors"]
    assert "MORE THAN" in Figures(mixed=mixed).as_table()
