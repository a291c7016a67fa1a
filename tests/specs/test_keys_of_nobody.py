"""The keys that are refused are those of small order, by the arithmetic of RFC 8032, section 5.1.4, and no others."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from plasm.identity import InvalidIdentity, check_public_key, did_key, has_small_order, parse_peer_id, peer_id, peer_key

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1)
Point = tuple[int, int]


def decoded(y: int, sign: int) -> Point | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT % P
    if x * x % P != square or (x == 0 and sign):
        return None
    return (P - x if x % 2 != sign else x), y


def encoded(point: Point) -> bytes:
    return (point[1] | point[0] % 2 << 255).to_bytes(32, "little")


def added(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    cross = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + cross, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P) % P


def torsion() -> set[Point]:
    """All multiples of a point of order eight: four times it is of order two."""
    generator = decoded(2707385501144840649318225287225658788936804267575313519463743609750303402022, 0)
    assert generator is not None
    points, point = [NEUTRAL], generator
    while point != NEUTRAL:
        points.append(point)
        point = added(point, generator)
    return set(points)


def test_all_eight_points_whose_order_divides_eight_are_refused_and_named_by_nobody():
    points = torsion()
    assert len(points) == 8
    for point in points:
        key = encoded(point)
        assert has_small_order(key)
        with pytest.raises(InvalidIdentity, match="small order"):
            peer_id(key)


def test_an_encoding_that_has_a_shorter_one_is_refused():
    for y in range(P, 2**255):
        for sign in (0, 2**255):
            with pytest.raises(InvalidIdentity, match="canonical"):
                check_public_key((y | sign).to_bytes(32, "little"))


@given(st.binary(min_size=32, max_size=32))
def test_the_key_of_a_signer_is_never_refused(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert check_public_key(key) == key
    assert peer_key(peer_id(key)) == key
    assert not has_small_order(key)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_that_is_taken_has_one_name_of_each_kind(key):
    try:
        peer = peer_id(key)
    except InvalidIdentity:
        return
    assert peer_key(peer) == key
    assert parse_peer_id(did_key(peer)) == parse_peer_id(peer) == peer
    with pytest.raises(InvalidIdentity):
        peer_key(did_key(peer))


@given(st.text(alphabet="123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", max_size=60))
def test_a_text_that_names_a_peer_is_that_peers_own_name(text):
    for name in (text, "12D3KooW" + text):
        try:
            key = peer_key(name)
        except InvalidIdentity:
            continue
        assert peer_id(key) == name
