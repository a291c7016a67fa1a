"""The log of faults: one line for each stranger and kind, and the others are counted."""

from __future__ import annotations

import logging

import pytest

from plasm.faultlog import FaultLog

LOG = logging.getLogger("plasm.tests.faults")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("plasm.faultlog.anyio.current_time", lambda: now[0])
    return now


def test_a_stranger_has_one_line_for_each_kind_of_fault(caplog, at):
    faults = FaultLog(LOG)
    for number in range(1000):
        faults.add("a", "broke the protocol", number)
    faults.add("a", "too many streams", "33")
    faults.add("b", "broke the protocol", "x")
    assert [record.message for record in caplog.records] == [
        "a: broke the protocol: 0",
        "a: too many streams: 33",
        "b: broke the protocol: x",
    ]


def test_how_many_more_there_were_is_said_once_in_a_while(caplog, at):
    faults = FaultLog(LOG, every_seconds=600)
    for _ in range(3150):
        faults.add("a", "broke the protocol", "x")
    at[0] += 601
    faults.tell()
    faults.tell()
    faults.add("a", "broke the protocol", "y")
    assert [record.message for record in caplog.records] == [
        "a: broke the protocol: x",
        "in the last 10 minutes as well: 3149 x broke the protocol",
        "a: broke the protocol: y",
    ]


def test_any_number_of_identities_writes_a_bounded_number_of_lines(caplog, at):
    faults = FaultLog(LOG, most_lines=10)
    for number in range(10_000):
        faults.add(f"peer {number}", "broke the protocol", "x")
    assert len(caplog.records) == 10
