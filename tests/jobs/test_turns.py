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


def run(usage: Usage, network: str, seconds: float) -> None:
    usage.end(network, seconds, usage.begin(network))


def test_a_network_that_used_little_comes_before_those_that_used_much():
    usage = Usage(lambda: 0.0)
    turns: OriginTurns[str] = OriginTurns(start=usage.start)
    expected = {network: usage.begin(network) for network in ("honest", *(f"greedy {number}" for number in range(40)))}
    for network, seconds in expected.items():
        usage.end(network, 0.002 if network == "honest" else 0.2, seconds)
        turns.push(Origin(network), network)
    assert next(iter(turns)) == "honest"
    assert turns.pop() == "honest"


def test_networks_that_all_want_more_than_there_is_get_the_same_time_however_long_their_jobs_are():
    usage = Usage(lambda: 0.0)
    turns: OriginTurns[str] = OriginTurns(start=usage.start)
    used = {"long": 0.0, "short": 0.0, "shorter": 0.0}
    each = {"long": 1.0, "short": 0.1, "shorter": 0.01}
    for network in used:
        turns.push(Origin(network), network)
    for _ in range(3000):
        network = turns.pop()
        assert network is not None
        run(usage, network, each[network])
        used[network] += each[network]
        turns.push(Origin(network), network)
    assert max(used.values()) - min(used.values()) <= 1.1


def test_what_a_network_used_while_nobody_else_wanted_it_does_not_have_it_wait_behind_newcomers():
    usage = Usage(lambda: 0.0)
    turns: OriginTurns[str] = OriginTurns(start=usage.start)
    for _ in range(100):
        run(usage, "honest", 1.0)
    for number in range(40):
        turns.push(Origin(f"new {number}"), f"new {number}")
    turns.push(Origin("honest"), "honest")
    before = 0
    while (network := turns.pop()) != "honest":
        assert network is not None
        run(usage, network, 0.01)
        turns.push(Origin(network), network)
        before += 1
    assert before <= 40 * 101, "it waits for what its last job took, and not for all that it ever had"


def test_who_had_the_node_alone_is_not_behind_newcomers():
    usage = Usage(lambda: 0.0)
    for _ in range(100):
        run(usage, "honest", 1.0)
        usage.rest()
    assert usage.start("honest") == usage.start("new")


def test_who_asks_now_and_then_is_next_among_those_who_always_want_more():
    usage = Usage(lambda: 0.0)
    turns: OriginTurns[str] = OriginTurns(start=usage.start)
    for _ in range(100):
        run(usage, "honest", 0.003)
    for number in range(40):
        turns.push(Origin(f"greedy {number}"), f"greedy {number}")
    for _ in range(200):
        network = turns.pop()
        assert network is not None
        run(usage, network, 0.003)
        turns.push(Origin(network), network)
    for _ in range(20):
        turns.push(Origin("honest"), "honest")
        waited = [turns.pop() for _ in range(41)].index("honest")
        assert waited <= 40
        run(usage, "honest", 0.003)


def test_what_a_network_used_is_forgotten_once_nobody_waits():
    usage = Usage(lambda: 0.0)
    run(usage, "earlier", 100.0)
    assert usage.start("earlier") > usage.start("now")
    running = usage.begin("other")
    usage.rest()
    assert usage.start("earlier") > usage.start("now")
    usage.give_back("other", running)
    usage.rest()
    assert usage.start("earlier") == usage.start("now")


def test_a_network_with_several_jobs_at_once_is_charged_for_each_when_it_begins():
    usage = Usage(lambda: 0.0)
    run(usage, "a", 4.0)
    run(usage, "b", 1.0)
    begun = usage.start("b")
    usage.begin("b")
    assert usage.start("b") == begun + 1.0
