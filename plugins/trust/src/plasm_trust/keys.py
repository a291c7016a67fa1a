"""Plasm's signers and key names, as TUF's library wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from tuf.api.exceptions import UnsignedMetadataError

from plasm.identity import InvalidIdentity, did_key, peer_id
from plasm.identity import public_key as public_key_of
from plasm.ports import SignerError
from plasm_trust.keyids import key_id
from plasm_trust.tufapi import Key, Metadata, SecretsHandler, Signature, SignerInterface, SSlibKey

if TYPE_CHECKING:
    from plasm.ports import Signer


def tuf_key(public_key: bytes) -> SSlibKey:
    """The 32-byte Ed25519 key as it stands in metadata."""
    return SSlibKey(key_id(public_key), "ed25519", "ed25519", {"public": public_key.hex()})


def did_of(public_key: bytes) -> str:
    """The did:key of a 32-byte Ed25519 public key: its name in ``repository.toml`` and for people."""
    return did_key(peer_id(public_key))


def did_of_key(key: Key) -> str:
    """The did:key of a key in metadata; of another sort than Ed25519, its key id."""
    try:
        return did_of(bytes.fromhex(key.keyval["public"]))
    except (ValueError, KeyError, TypeError, InvalidIdentity):
        return key.keyid


def key_of_did(did: str) -> SSlibKey:
    """The key that a did:key names. Raises :exc:`plasm.identity.InvalidIdentity`."""
    return tuf_key(public_key_of(did))


def sign(metadata: Metadata[Any], signer: Signer) -> str:
    """Add the signature of `signer` to `metadata`; its key id. Raises :exc:`plasm.ports.SignerError`."""
    try:
        return metadata.sign(TufSigner(signer), append=True).keyid
    except UnsignedMetadataError as error:
        if isinstance(error.__cause__, SignerError):
            raise error.__cause__ from None
        raise


class TufSigner(SignerInterface):
    """A signer of Plasm that signs metadata."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._key = tuf_key(signer.public_key)

    @property
    def public_key(self) -> Key:
        return self._key

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._key.keyid, self._signer.sign(payload).hex())

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> NoReturn:
        """Keys are opened by :func:`plasm.signing.open_signer`."""
        raise NotImplementedError
