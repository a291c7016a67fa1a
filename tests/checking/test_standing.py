"""What deeds make of a peer, and when its results are checked."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from plasm.checking.standing import LEAST_CHECKED, TRUSTED_AFTER, Deed, PeerRecord, Standing, needs_check
from tests.checking.said import node

FRESH = PeerRecord(peer=node(1))


def after(*deeds: Deed, record: PeerRecord = FRESH) -> PeerRecord:
    for deed in deeds:
        record = record.after(deed, now=1.0)
    return record


def never() -> float:
    return 0.999_999


def test_a_new_peer_is_unknown_and_checked():
    assert FRESH.standing is Standing.UNKNOWN
    assert needs_check(FRESH, never)


def test_ten_agreements_in_a_row_make_a_peer_trusted():
    almost = after(*[Deed.AGREED] * (TRUSTED_AFTER - 1))
    assert (almost.standing, needs_check(almost, never)) == (Standing.UNKNOWN, True)
    trusted = after(Deed.AGREED, record=almost)
    assert (trusted.standing, needs_check(trusted, never)) == (Standing.TRUSTED, False)


@pytest.mark.parametrize("agreements", [10, 25, 99])
def test_a_trusted_peer_is_checked_with_one_in_its_agreements(agreements):
    record = replace(FRESH, streak=agreements)
    assert needs_check(record, lambda: 1 / agreements - 1e-9)
    assert not needs_check(record, lambda: 1 / agreements)


@pytest.mark.parametrize("agreements", [100, 10_000, 10**9])
def test_however_long_the_row_one_result_in_a_hundred_is_checked(agreements):
    record = replace(FRESH, streak=agreements)
    source = random.Random(7)
    checked = sum(needs_check(record, source.random) for _ in range(20_000))
    assert 150 < checked < 250
    assert LEAST_CHECKED == 0.01


@pytest.mark.parametrize("deed", [Deed.LIED, Deed.CONTRADICTED])
def test_one_lie_resets_to_zero(deed):
    record = after(*[Deed.AGREED] * 500, deed)
    assert record.streak == 0
    assert needs_check(record, never)


def test_a_proven_lie_stays_and_a_contradiction_can_be_made_good():
    trust = [Deed.AGREED] * TRUSTED_AFTER
    assert after(Deed.LIED, *trust).standing is Standing.LIAR
    assert after(Deed.CONTRADICTED).standing is Standing.CONTRADICTED
    assert after(Deed.CONTRADICTED, *trust).standing is Standing.TRUSTED


@pytest.mark.parametrize("deed", [Deed.ANSWERED, Deed.UNDECIDED, Deed.TIMED_OUT, Deed.REFUSED])
def test_what_proves_nothing_changes_no_row(deed):
    record = after(*[Deed.AGREED] * 3, deed)
    assert record.streak == 3
    assert getattr(record, deed.value) == 1


def test_reliability_is_the_share_of_requests_that_were_answered():
    assert FRESH.reliability == 0.5
    assert after(*[Deed.ANSWERED] * 8).reliability == 0.9
    assert after(Deed.TIMED_OUT, Deed.REFUSED).reliability == 0.25


def test_latency_is_smoothed():
    record = FRESH.after(Deed.ANSWERED, now=1.0, latency_seconds=0.08)
    assert record.latency_seconds == 0.08
    assert record.after(Deed.ANSWERED, now=2.0, latency_seconds=0.16).latency_seconds == pytest.approx(0.09)
    assert record.after(Deed.ANSWERED, now=2.0).latency_seconds == 0.08


def test_a_clock_that_goes_back_does_not_make_a_peer_older():
    record = FRESH.after(Deed.ANSWERED, now=10.0).after(Deed.ANSWERED, now=5.0)
    assert (record.first_seen, record.last_seen) == (10.0, 10.0)


class Peer(RuleBasedStateMachine):
    """Whatever a peer does, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.record = FRESH
        self.deeds: list[Deed] = []

    @rule(deed=st.sampled_from(Deed))
    def does(self, deed: Deed) -> None:
        self.record = self.record.after(deed, now=float(len(self.deeds) + 1))
        self.deeds.append(deed)

    @rule(times=st.integers(1, 30))
    def agrees_often(self, times: int) -> None:
        for _ in range(times):
            self.does(Deed.AGREED)

    @invariant()
    def counters_count(self) -> None:
        for deed in Deed:
            counted = [each for each in self.deeds if each.counter == deed.counter]
            assert getattr(self.record, deed.counter) == len(counted)

    @invariant()
    def the_streak_is_what_came_after_the_last_contradiction(self) -> None:
        since = []
        for deed in self.deeds:
            since = [] if deed in (Deed.DIFFERED, Deed.CONTRADICTED, Deed.LIED) else [*since, deed]
        assert self.record.streak == since.count(Deed.AGREED)

    @invariant()
    def a_peer_that_is_not_trusted_is_always_checked(self) -> None:
        if self.record.standing is not Standing.TRUSTED and not self.record.lied:
            assert needs_check(self.record, never)
        assert needs_check(self.record, lambda: 0.0)

    @invariant()
    def nobody_is_trusted_without_ten_agreements_since_the_last_contradiction(self) -> None:
        if self.record.standing is Standing.TRUSTED:
            assert self.record.streak >= 10
            assert Deed.LIED not in self.deeds


TestPeer = Peer.TestCase
TestPeer.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
