"""Turns: networks, then addresses, then identities, and what is waiting is never lost or given twice."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from plasm.jobs.turns import OriginTurns, Usage
from plasm.shares import Origin

ORIGINS = st.builds(Origin, st.sampled_from("nm"), st.sampled_from("ab"), st.sampled_from("pq"))


def filled(*origins: Origin) -> OriginTurns[tuple[Origin, int]]:
    turns: OriginTurns[tuple[Origin, int]] = OriginTurns()
    for number, origin in enumerate(origins):
        turns.push(origin, (origin, number))
    return turns


def test_a_network_with_many_identities_gets_the_turns_of_one():
    crowd = [Origin("crowd", f"a{number}", f"p{number}") for number in range(10)]
    alone = Origin("alone", "a", "p")
    turns = filled(*crowd, alone, alone)
    assert [turns.pop()[0].network for _ in range(4)] == ["crowd", "alone", "crowd", "alone"]


def test_an_address_with_many_identities_gets_the_turns_of_one():
    crowd = [Origin("n", "crowd", f"p{number}") for number in range(10)]
    turns = filled(*crowd, Origin("n", "alone", "p"), Origin("n", "alone", "p"))
    assert [turns.pop()[0].address for _ in range(4)] == ["crowd", "alone", "crowd", "alone"]


@given(st.lists(ORIGINS), st.data())
def test_all_that_waits_comes_once_in_the_order_foretold(origins, data):
    turns = filled(*origins)
    gone = set()
    for origin, number in data.draw(st.sets(st.sampled_from([*enumerate(origins)]))) if origins else ():
        assert turns.remove(number, (number, origin))
        assert not turns.remove(number, (number, origin))
        gone.add(origin)
    foretold = list(turns)
    assert len(foretold) == len(turns) == len(origins) - len(gone)
    assert [turns.pop() for _ in foretold] == foretold
    assert turns.pop() is None
    assert Counter(number for _, number in foretold) == Counter(set(range(len(origins))) - gone)


@given(st.lists(ORIGINS, min_size=1))
def test_those_that_cannot_be_taken_now_keep_their_turn(origins):
    turns = filled(*origins)
    order = list(turns)
    assert turns.pop(lambda item: False) is None
    assert list(turns) == order
    last = order[-1]
    assert turns.pop(lambda item: item == last) == last


def test_a_network_that_used_little_comes_before_those_that_used_much():
    now = 0.0
    usage = Usage(lambda: now)
    turns: OriginTurns[str] = OriginTurns(used=usage.of)
    for number in range(40):
        usage.add(f"greedy {number}", 0.2)
        turns.push(Origin(f"greedy {number}"), f"long {number}")
    usage.add("honest", 0.002)
    turns.push(Origin("honest"), "short")
    assert next(iter(turns)) == "short"
    assert turns.pop() == "short"


def test_what_a_network_used_long_ago_is_forgiven():
    now = 0.0
    usage = Usage(lambda: now)
    usage.add("earlier", 100.0)
    now = 600.0
    usage.add("now", 1.0)
    assert usage.of("earlier") < usage.of("now") < 1.01
