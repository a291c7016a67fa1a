"""Names of Ed25519 keys: peer IDs and did:key, which name the same key.

Sources: the libp2p peer ID specification (identity multihash of the protobuf-encoded public key, for keys of up to 42
bytes), the W3C did:key method (multicodec ``ed25519-pub``, 0xed01, in base58btc) and, for which 32 bytes are a key,
RFC 8032 section 5.1.3 (one encoding for each point) and libsodium's ``ge25519_has_small_order`` (points whose
signatures need no private key).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from plasm.ports import PeerId

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_PEER_ID_PREFIX = bytes.fromhex("002408011220")
_DID_PREFIX = b"\xed\x01"
_LONGEST_TEXT = 64
"""Both names of a 32-byte key are shorter; a longer text is refused before any arithmetic."""
_PRIME: Final = 2**255 - 19
_SIGN: Final = 2**255
"""The bit of an encoded point that tells x from -x; the others are y."""
_ORDER_EIGHT: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1, _ORDER_EIGHT, _PRIME - _ORDER_EIGHT})
"""The y of all eight points whose order divides the cofactor: of order 4, 1, 2 and twice 8."""


class InvalidIdentity(ValueError):
    """The text does not name an Ed25519 key."""


def base58_encode(data: bytes) -> str:
    """Base58 in Bitcoin's alphabet, leading zero bytes as ``1``."""
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, rest = divmod(number, 58)
        digits = _ALPHABET[rest] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def base58_decode(text: str) -> bytes:
    """The reverse of :func:`base58_encode`. Raises :exc:`InvalidIdentity`."""
    if len(text) > _LONGEST_TEXT:
        raise InvalidIdentity("too long to be the name of a key")
    number = 0
    for character in text:
        if character not in _VALUES:
            raise InvalidIdentity(f"{character!r} is not a base58 digit")
        number = number * 58 + _VALUES[character]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def has_small_order(point: bytes) -> bool:
    """Whether `point`, 32 bytes that encode a point of the curve, has an order that divides 8."""
    return int.from_bytes(point, "little") % _SIGN % _PRIME in _SMALL_ORDER


def check_public_key(public_key: bytes) -> bytes:
    """`public_key`, which can be an Ed25519 key of somebody's. Raises :exc:`InvalidIdentity`.

    Refused are another length, an encoding of a point that has a shorter one (RFC 8032, section 5.1.3), and points of
    small order, for which anybody can sign. Whether the bytes are a point at all shows when a signature is verified.
    """
    if len(public_key) != 32:
        raise InvalidIdentity(f"invalid Ed25519 public key: expected 32 bytes (got {len(public_key)})")
    if int.from_bytes(public_key, "little") % _SIGN >= _PRIME:
        raise InvalidIdentity("invalid Ed25519 public key: it is not in canonical form")
    if has_small_order(public_key):
        raise InvalidIdentity("invalid Ed25519 public key: it has a small order, so anybody can sign for it")
    return public_key


def peer_id(public_key: bytes) -> PeerId:
    """The peer ID of a 32-byte Ed25519 public key. Raises :exc:`InvalidIdentity`."""
    return PeerId(base58_encode(_PEER_ID_PREFIX + check_public_key(public_key)))


@lru_cache(maxsize=1024)
def public_key(name: str) -> bytes:
    """The 32-byte Ed25519 public key that a peer ID or a did:key names. Raises :exc:`InvalidIdentity`."""
    if name.startswith("did:key:z"):
        return _key_after(_DID_PREFIX, name.removeprefix("did:key:z"))
    return peer_key(name)


@lru_cache(maxsize=1024)
def peer_key(peer: str) -> bytes:
    """The 32-byte Ed25519 public key of a peer ID, and of no other name. Raises :exc:`InvalidIdentity`.

    For what machines write: each key has one peer ID, so that two texts are two peers.
    """
    return _key_after(_PEER_ID_PREFIX, peer)


def _key_after(prefix: bytes, text: str) -> bytes:
    raw = base58_decode(text)
    if not raw.startswith(prefix) or len(raw) != len(prefix) + 32:
        raise InvalidIdentity("not the peer ID or did:key of an Ed25519 key")
    return check_public_key(raw[len(prefix) :])


def parse_peer_id(text: str) -> PeerId:
    """The peer ID of the key that `text`, a peer ID or a did:key, names. Raises :exc:`InvalidIdentity`."""
    return peer_id(public_key(text))


def did_key(peer: PeerId) -> str:
    """The did:key of the key that `peer` names."""
    return "did:key:z" + base58_encode(_DID_PREFIX + public_key(peer))


@lru_cache(maxsize=1024)
def peer_of_address(address: str) -> PeerId:
    """The peer that a multiaddr ending in ``/p2p/PEER`` names. Raises :exc:`InvalidIdentity`."""
    head, marker, last = address.rpartition("/p2p/")
    if not marker or not head.startswith("/"):
        raise InvalidIdentity("the address does not end in /p2p/PEER")
    peer_key(last)
    return PeerId(last)
