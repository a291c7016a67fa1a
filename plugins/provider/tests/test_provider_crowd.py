"""Who gets in, and who makes room."""

from __future__ import annotations

import pytest
from plasm_provider.httpd.crowd import Crowd, Guest
from plasm_provider.httpd.limits import Limits

from plasm.shares import Origin, origin_of


def at(client: str, network: str = "") -> Origin:
    """Where `client` comes from: a network of its own, unless another is named."""
    return Origin(network=network or f"network of {client}", address=client)


class House:
    """A crowd of at most four, two of them of one client, with a clock that is set by hand."""

    def __init__(self, **limits: float) -> None:
        self.time = 0.0
        self.dismissed: list[str] = []
        settings = {"connections": 4, "connections_per_client": 2} | limits
        self.crowd = Crowd(Limits(**settings), lambda: self.time)  # type: ignore[arg-type]

    def admit(self, client: str, name: str, *, works: bool = False) -> Guest | None:
        guest = self.crowd.admit(at(client), lambda: self.dismissed.append(name))
        if guest is not None and works:
            self.crowd.works(guest)
        return guest


@pytest.fixture
def house() -> House:
    return House()


def test_an_idle_connection_of_the_same_client_makes_room_for_its_next_one(house: House) -> None:
    house.admit("a", "first")
    house.admit("a", "second")
    assert house.admit("a", "third") is not None
    assert house.dismissed == ["first"]
    assert len(house.crowd) == 2


def test_a_client_whose_connections_all_work_gets_no_more(house: House) -> None:
    house.admit("a", "first", works=True)
    house.admit("a", "second", works=True)
    assert house.admit("a", "third") is None
    assert house.dismissed == []


def test_where_all_is_full_the_longest_idle_makes_room(house: House) -> None:
    first = house.admit("a", "first")
    assert first is not None
    house.admit("b", "second")
    house.admit("c", "third")
    house.admit("d", "fourth")
    house.crowd.works(first)
    house.crowd.rests(first)
    assert house.admit("e", "fifth") is not None
    assert house.dismissed == ["second"]


def test_a_newcomer_takes_a_place_from_the_client_with_most_of_them(house: House) -> None:
    for client, name in (("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")):
        house.admit(client, name, works=True)
    assert house.admit("c", "5") is not None
    assert house.dismissed == ["1"]


def test_many_addresses_of_one_network_make_room_before_anybody_else() -> None:
    house = House()
    house.crowd.admit(at("honest"), lambda: house.dismissed.append("honest"))
    for number in range(3):
        guest = house.crowd.admit(at(f"stranger {number}", "strangers"), lambda: house.dismissed.append("a stranger"))
        assert guest is not None
        house.crowd.works(guest)
    assert house.admit("newcomer", "newcomer") is not None
    assert house.dismissed == ["a stranger"]
    assert house.crowd.admit(at("stranger 9", "strangers"), lambda: None) is None


def test_where_all_are_alike_a_newcomer_waits(house: House) -> None:
    for client in "abcd":
        house.admit(client, client, works=True)
    assert house.admit("e", "e") is None


def test_whoever_left_counts_no_more(house: House) -> None:
    for _ in range(10):
        guest = house.admit("a", "x", works=True)
        assert guest is not None
        house.crowd.leave(guest)
        house.crowd.leave(guest)
    assert len(house.crowd) == 0


def test_requests_are_counted_by_client_and_time() -> None:
    house = House(requests_per_second=2)
    assert [house.crowd.may_ask(at("a")) for _ in range(3)] == [True, True, False]
    assert house.crowd.may_ask(at("b"))
    house.time = 0.5
    assert [house.crowd.may_ask(at("a")) for _ in range(2)] == [True, False]


def test_clients_beyond_the_bound_are_forgotten() -> None:
    house = House(requests_per_second=1, clients_remembered=2)
    assert [house.crowd.may_ask(at(client)) for client in "abc"] == [True, True, True]
    assert house.crowd.may_ask(at("a"))
    assert not house.crowd.may_ask(at("c"))


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_client_is_an_address_or_a_network_of_64_bits(host: str, client: str) -> None:
    assert origin_of(host).address == client
