"""Strangers share by network, then by address, then by identity."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.shares import Allowances, Origin, Places, Shares, origin_of


@pytest.mark.parametrize(
    ("ip", "network", "address"),
    [
        ("192.0.2.7", "192.0.2.0/24", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.0/24", "192.0.2.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/48", "fe80::/64"),
    ],
)
def test_an_address_is_in_a_network_that_one_organisation_has(ip: str, network: str, address: str) -> None:
    assert origin_of(ip, "P") == Origin(network=network, address=address, peer="P")


@pytest.mark.parametrize("ip", [None, "", "not an address", "/ip4/192.0.2.7"])
def test_a_peer_of_unknown_address_is_a_network_of_its_own(ip: str | None) -> None:
    assert origin_of(ip, "P").network != origin_of(ip, "Q").network


def test_the_greediest_network_gives_way_and_in_it_the_greediest_address_and_identity() -> None:
    shares = Shares()
    for ip, peer, amount in (("10.0.0.1", "a", 3), ("10.0.0.2", "b", 2), ("10.0.0.2", "c", 2), ("10.0.1.1", "d", 6)):
        shares.take(origin_of(ip, peer), amount)
    assert shares.of("10.0.0.0/24") == 7
    assert shares.of("10.0.0.0/24", "10.0.0.2/32") == 4
    assert shares.greediest() == origin_of("10.0.0.2", "b")


def test_the_one_that_holds_most_is_still_known_after_much_was_given_back() -> None:
    shares = Shares()
    for number, amount in enumerate((5, 900, 70, 70)):
        shares.take(origin_of(f"192.0.{number}.1"), amount)
    for network, left in (("192.0.1.0/24", "192.0.2.0/24"), ("192.0.2.0/24", "192.0.3.0/24")):
        greediest = shares.greediest()
        assert greediest is not None
        assert greediest.network == network
        shares.give(greediest, shares.of(*greediest))
        greediest = shares.greediest()
        assert greediest is not None
        assert greediest.network == left
    assert shares.total == 75


def test_many_identities_of_one_address_push_out_each_other_and_nobody_else() -> None:
    places: Places[str] = Places(10)
    assert places.enter("honest", origin_of("192.0.2.1", "honest")) is None
    for number in range(1000):
        places.enter(f"stranger {number}", origin_of("198.51.100.1", str(number)))
    assert "honest" in places
    assert len(places) == 10


def test_what_goes_cannot_be_foreseen() -> None:
    gone = set()
    for seed in range(50):
        places: Places[int] = Places(8, random.Random(seed))
        for number in range(8):
            places.enter(number, origin_of("192.0.2.1", "peer"))
        gone.add(places.enter(8, origin_of("192.0.2.1", "peer")))
    assert len(gone) > 5


def test_idle_ones_of_the_greediest_go_first() -> None:
    places: Places[int] = Places(8)
    for number in range(8):
        places.enter(number, origin_of("192.0.2.1", "peer"))
    assert places.enter(8, origin_of("203.0.113.1", "other"), first=lambda holder: holder == 3) == 3


def test_of_identities_that_hold_the_same_any_may_go() -> None:
    gone = set()
    for seed in range(50):
        places: Places[int] = Places(8, random.Random(seed))
        for number in range(9):
            victim = places.enter(number, origin_of("192.0.2.1", f"identity {number}"))
        gone.add(victim)
    assert len(gone) > 5


def test_the_idle_one_goes_whichever_identity_of_the_address_it_is_of() -> None:
    places: Places[int] = Places(8)
    for number in range(8):
        places.enter(number, origin_of("192.0.2.1", f"identity {number}"))
    assert places.enter(8, origin_of("203.0.113.1", "other"), first=lambda holder: holder == 5) == 5


def test_whoever_spent_their_burst_has_as_much_again_as_time_gave_them() -> None:
    time = 0.0
    allowances = Allowances(2.0, 4.0, 10, lambda: time)
    assert [allowances.spend("a") for _ in range(5)] == [True, True, True, True, False]
    assert allowances.spend("b", 4.0)
    time = 1.0
    assert [allowances.spend("a") for _ in range(3)] == [True, True, False]


def test_a_debt_is_paid_by_waiting() -> None:
    time = 0.0
    allowances = Allowances(2.0, 4.0, 10, lambda: time)
    assert allowances.owe("a", 4.0) == 0
    assert allowances.owe("a", 2.0) == 1.0
    time = 1.0
    assert allowances.owe("a", 1.0) == 0.5


def test_keys_beyond_the_bound_are_forgotten() -> None:
    allowances = Allowances(1.0, 1.0, 2, lambda: 0.0)
    assert [allowances.spend(key) for key in "abc"] == [True, True, True]
    assert allowances.spend("a")
    assert not allowances.spend("c")


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 3), st.booleans())))
def test_places_are_never_more_than_there_are_and_the_books_agree(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    places: Places[int] = Places(5)
    for holder, network, peer, comes in steps:
        if not comes:
            places.leave(holder)
        elif holder not in places:
            before = len(places)
            gone = places.enter(holder, origin_of(f"192.0.{network}.1", str(peer)))
            assert (gone is None) == (before < 5)
        assert len(places) <= 5
        assert sum(places.held_by(f"192.0.{network}.0/24") for network in range(4)) == len(places)
