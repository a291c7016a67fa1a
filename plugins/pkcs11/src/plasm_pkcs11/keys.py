"""Ed25519 keys in a token: found by their names, made so that they cannot leave it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, Final

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from plasm.errors import one_line
from plasm.ports import SignerError
from plasm_pkcs11.failures import failure
from plasm_pkcs11.uri import KeyUri

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_ED25519_PARAMETERS = bytes.fromhex("06032b6570")
"""CKA_EC_PARAMS: the object identifier 1.3.101.112 (RFC 8410) in DER."""

_WRAPPINGS = (b"", b"\x04\x20", b"\x03\x21\x00")
"""What comes before the 32 bytes in CKA_EC_POINT: nothing (PKCS #11 v3.0), or DER's OCTET STRING or BIT STRING."""

_PROBE = b"plasm: is this private key that public key's?"


def find_private_key(session: Any, uri: KeyUri, token: str) -> Any | None:
    """The private key that `uri` names, ``None`` where there is none.

    Raises :exc:`SignerError` where there are several, or it is no Edwards key.
    """
    try:
        found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, **_names(uri)}))
    except pkcs11.PKCS11Error as error:
        raise failure(token, error) from error
    if len(found) > 1:
        raise SignerError(one_line(f"{token} has {len(found)} keys {uri.key}; say which in the URI by id"))
    if found and found[0].key_type is not KeyType.EC_EDWARDS:
        raise SignerError(one_line(f"the key {uri.key} in {token} is not an Ed25519 key; name another"))
    return found[0] if found else None


def make_key(session: Any, uri: KeyUri, token: str) -> Any:
    """A new private key under the names in `uri`, which the token never lets out, and its public key beside it.

    Raises :exc:`SignerError`.
    """
    if uri.object is None:
        raise SignerError("a new key needs a name: add object=KEY to the URI")
    try:
        # The process is logged in to the token, and so is each of its sessions.
        writing = session.token.open(rw=True)
        try:
            parameters = writing.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _ED25519_PARAMETERS}, local=True
            )
            parameters.generate_keypair(
                id=uri.id if uri.id is not None else secrets.token_bytes(16),
                label=uri.object,
                store=True,
                private_template={
                    Attribute.PRIVATE: True,
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    Attribute.SIGN: True,
                },
            )
        finally:
            writing.close()
    except pkcs11.PKCS11Error as error:
        raise failure(token, error) from error
    made = find_private_key(session, uri, token)
    if made is None or extractable(made):
        raise SignerError(one_line(f"{token} did not keep the new key {uri.key} as it was told to; use another token"))
    return made


def extractable(private: Any) -> bool:
    """Whether the token may let the key out; true where it does not say."""
    try:
        return not (private[Attribute.SENSITIVE] and not private[Attribute.EXTRACTABLE])
    except pkcs11.PKCS11Error:
        return True


def sign(private: Any, message: bytes) -> bytes:
    """The 64-byte signature (RFC 8032, pure Ed25519: CKM_EDDSA without parameters). Raises the library's exceptions."""
    return bytes(private.sign(message, mechanism=Mechanism.EDDSA))


def public_key_of(session: Any, private: Any, uri: KeyUri, token: str) -> bytes:
    """The 32-byte public key that stands beside `private` and verifies what it signs. Raises :exc:`SignerError`."""
    try:
        signature = sign(private, _PROBE)
        for point in _points(session, private, uri):
            if point is not None and _verifies(point, signature):
                return point
    except pkcs11.PKCS11Error as error:
        raise failure(token, error) from error
    raise SignerError(one_line(f"{token} has no public key that fits the key {uri.key}; store it there under one id"))


def raw_point(encoded: bytes) -> bytes | None:
    """The 32 bytes of an Ed25519 public key in a CKA_EC_POINT, however it is wrapped; ``None`` where it is another."""
    wrapping, point = encoded[:-PUBLIC_KEY_BYTES], encoded[-PUBLIC_KEY_BYTES:]
    return point if len(point) == PUBLIC_KEY_BYTES and wrapping in _WRAPPINGS else None


def _names(uri: KeyUri) -> dict[Attribute, Any]:
    names: dict[Attribute, Any] = {}
    if uri.object is not None:
        names[Attribute.LABEL] = uri.object
    if uri.id is not None:
        names[Attribute.ID] = uri.id
    return names


def _points(session: Any, private: Any, uri: KeyUri) -> Iterator[bytes | None]:
    own_id = private[Attribute.ID]
    names = {Attribute.ID: own_id} if own_id else _names(uri)
    # A list: the search must be over before the next call.
    for public in list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, **names})):
        yield raw_point(public[Attribute.EC_POINT])


def _verifies(point: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(point).verify(signature, _PROBE)
    except (InvalidSignature, ValueError):
        return False
    return True
