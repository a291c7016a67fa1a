"""The node's key as py-libp2p wants it, without the seed leaving the signer."""

from __future__ import annotations

from typing import NoReturn

from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.crypto.keys import KeyPair, KeyType, PrivateKey, PublicKey

from plasm.ports import Signer


class SigningKey(PrivateKey):
    """A private key that can sign and give its public half, and nothing else."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._public = Ed25519PublicKey.from_bytes(signer.public_key)

    def to_bytes(self) -> NoReturn:
        raise NotImplementedError("the private key stays in its signer")

    def get_type(self) -> KeyType:
        return KeyType.Ed25519

    def sign(self, data: bytes) -> bytes:
        return self._signer.sign(data)

    def get_public_key(self) -> PublicKey:
        return self._public

    # Key.__eq__ compares the bytes of both keys, which this one does not give.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and other._signer.public_key == self._signer.public_key

    def __hash__(self) -> int:
        return hash(self._signer.public_key)


def key_pair(signer: Signer) -> KeyPair:
    """The pair that py-libp2p signs its Noise handshakes and peer records with."""
    private = SigningKey(signer)
    return KeyPair(private, private.get_public_key())
