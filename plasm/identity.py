"""Names of Ed25519 keys: peer IDs and did:key, which name the same key.

Sources: the libp2p peer ID specification (identity multihash of the protobuf-encoded public key, for keys of up to 42
bytes) and the W3C did:key method (multicodec ``ed25519-pub``, 0xed01, in base58btc).
"""

from __future__ import annotations

from functools import lru_cache

from plasm.ports import PeerId

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_PEER_ID_PREFIX = bytes.fromhex("002408011220")
_DID_PREFIX = b"\xed\x01"
_LONGEST_TEXT = 64
"""Both names of a 32-byte key are shorter; a longer text is refused before any arithmetic."""


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


def peer_id(public_key: bytes) -> PeerId:
    """The peer ID of a 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise InvalidIdentity("an Ed25519 public key has 32 bytes")
    return PeerId(base58_encode(_PEER_ID_PREFIX + public_key))


@lru_cache(maxsize=1024)
def public_key(peer: str) -> bytes:
    """The 32-byte Ed25519 public key that a peer ID or a did:key names. Raises :exc:`InvalidIdentity`."""
    if peer.startswith("did:key:z"):
        prefix, raw = _DID_PREFIX, base58_decode(peer.removeprefix("did:key:z"))
    else:
        prefix, raw = _PEER_ID_PREFIX, base58_decode(peer)
    if not raw.startswith(prefix) or len(raw) != len(prefix) + 32:
        raise InvalidIdentity("not the peer ID or did:key of an Ed25519 key")
    return raw[len(prefix) :]


def parse_peer_id(text: str) -> PeerId:
    """`text`, checked and in canonical form. Raises :exc:`InvalidIdentity`."""
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
    return parse_peer_id(last)
