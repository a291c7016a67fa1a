"""The code holds to the vectors of identities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from plasm.identity import InvalidIdentity, did_key, parse_peer_id, peer_id, peer_of_address, public_key

Vectors = Callable[[str], dict[str, Any]]


def test_each_name_of_a_key_leads_to_each_other(vectors: Vectors) -> None:
    for vector in vectors("identities")["valid"]:
        key = bytes.fromhex(vector["public_key"])
        assert peer_id(key) == vector["peer_id"]
        assert did_key(vector["peer_id"]) == vector["did_key"]
        for name in (vector["peer_id"], vector["did_key"]):
            assert public_key(name) == key
            assert parse_peer_id(name) == vector["peer_id"]


def test_seeds_and_key_files_hold_the_key(vectors: Vectors) -> None:
    for vector in vectors("identities")["valid"]:
        from_seed = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"]))
        from_file = load_pem_private_key(vector["private_key_pem"].encode(), None)
        assert isinstance(from_file, Ed25519PrivateKey)
        assert from_file.private_bytes_raw() == from_seed.private_bytes_raw()
        assert from_seed.public_key().public_bytes_raw().hex() == vector["public_key"]


def test_what_names_no_ed25519_key_is_refused(vectors: Vectors) -> None:
    for vector in vectors("identities")["invalid"]:
        with pytest.raises(InvalidIdentity):
            public_key(vector["text"])
            pytest.fail(vector["why"])


def test_addresses_name_the_peer_at_their_end(vectors: Vectors) -> None:
    addresses = vectors("identities")["addresses"]
    for vector in addresses["valid"]:
        assert peer_of_address(vector["address"]) == vector["peer_id"]
    for vector in addresses["invalid"]:
        with pytest.raises(InvalidIdentity):
            peer_of_address(vector["address"])
            pytest.fail(vector["why"])


def test_published_keys_have_their_published_names(vectors: Vectors) -> None:
    """From RFC 8032 (the public key), the libp2p peer ID specification and the did:key method's examples."""
    first, libp2p, zero = vectors("identities")["valid"][:3]
    assert first["public_key"] == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert libp2p["public_key"] == "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    assert zero["did_key"] == "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def test_the_text_shows_a_key_of_the_vectors(vectors: Vectors, text: Callable[[str], str]) -> None:
    first = vectors("identities")["valid"][0]
    shown = text("identity.md")
    assert first["peer_id"] in shown
    assert first["did_key"] in shown
