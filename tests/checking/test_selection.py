"""The order in which nodes are asked: reliable and near first, a share for the unknown, liars not at all."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from plasm.checking.selection import UNKNOWN_SHARE, in_order, spread
from plasm.checking.standing import TRUSTED_AFTER, PeerRecord
from tests.checking.said import node

NODES = [node(number) for number in range(12)]


def known(number: int, **facts: object) -> PeerRecord:
    return PeerRecord(peer=NODES[number], **{"streak": TRUSTED_AFTER, "latency_seconds": 0.1, **facts})


def unknown(number: int, **facts: object) -> PeerRecord:
    return PeerRecord(peer=NODES[number], **facts)


def mostly() -> float:
    """A draw that gives no place to the unknown."""
    return 0.5


def test_the_near_come_before_the_far():
    records = [known(0, latency_seconds=0.2), known(1, latency_seconds=0.05), known(2, latency_seconds=None)]
    assert in_order(records, random=mostly) == [NODES[1], NODES[0], NODES[2]]


def test_a_fresh_measurement_wins_over_the_records():
    records = [known(0, latency_seconds=0.2), known(1, latency_seconds=0.05)]
    assert in_order(records, random=mostly, latencies={NODES[0]: 0.02}) == [NODES[0], NODES[1]]


def test_a_near_node_that_seldom_answers_comes_after_a_far_one_that_does():
    records = [known(0, latency_seconds=0.05, timed_out=30), known(1, latency_seconds=0.2, answered=30)]
    assert in_order(records, random=mostly) == [NODES[1], NODES[0]]


def test_the_trusted_come_first_then_the_unknown_then_the_contradicted_and_no_liars():
    records = [
        known(0, lied=1),
        unknown(1, contradicted=1, latency_seconds=0.001),
        unknown(2),
        known(3, latency_seconds=3.0),
    ]
    assert in_order(records, random=mostly) == [NODES[3], NODES[2], NODES[1]]
    assert in_order(records, random=mostly, with_liars=True)[-1] == NODES[0]


def test_the_unknown_get_their_share_of_the_first_place():
    records = [known(0), known(1), unknown(2), unknown(3)]
    source = random.Random(3)
    firsts = [in_order(records, random=source.random)[0] for _ in range(4000)]
    share = sum(peer in (NODES[2], NODES[3]) for peer in firsts) / len(firsts)
    assert abs(share - UNKNOWN_SHARE) < 0.02


def test_being_near_wins_the_unknown_no_more_than_its_part():
    records = [unknown(0, latency_seconds=0.1), unknown(1, latency_seconds=0.2)]
    source = random.Random(5)
    firsts = [in_order(records, random=source.random)[0] for _ in range(4000)]
    assert abs(firsts.count(NODES[0]) / len(firsts) - 2 / 3) < 0.03


def test_the_same_draws_give_the_same_order():
    records = [known(0), known(1), *(unknown(number) for number in range(2, 9))]
    assert in_order(records, random=random.Random(1).random) == in_order(records, random=random.Random(1).random)


@given(
    st.lists(
        st.builds(
            lambda number, **facts: replace(unknown(number), **facts),
            st.integers(0, 11),
            streak=st.integers(0, 200),
            lied=st.integers(0, 1),
            contradicted=st.integers(0, 2),
            timed_out=st.integers(0, 9),
            latency_seconds=st.none() | st.floats(0, 100),
        ),
        unique_by=lambda record: record.peer,
    ),
    st.randoms(use_true_random=False),
)
def test_everybody_but_the_liars_is_in_the_order_once(records, source):
    ordered = in_order(records, random=source.random)
    assert sorted(ordered) == sorted(record.peer for record in records if not record.lied)
    assert sorted(in_order(records, random=source.random, with_liars=True)) == sorted(r.peer for r in records)


def test_different_engines_come_to_stand_beside_each_other():
    engine = {NODES[0]: "wasmtime", NODES[1]: "wasmtime", NODES[2]: "v8", NODES[3]: "wasmtime", NODES[4]: "v8"}
    assert spread(NODES[:5], engine.__getitem__) == [NODES[0], NODES[2], NODES[1], NODES[4], NODES[3]]
