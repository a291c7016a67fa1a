"""Ed25519 public keys as people hand them over: did:key, hexadecimal, base64 or PEM."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from plasm_trust.whole_files import read_capped

from plasm.files import NotText, text_of
from plasm.identity import InvalidIdentity, check_public_key, public_key

MAX_BYTES: Final = 4096
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=?")


class InvalidKey(ValueError):
    """The text is no public key; the message says why, and never what it holds."""


def read_public_key(text: str) -> bytes:
    """The 32 bytes of the key that `text` is (``did:key:…``), or that the file of that name holds.

    Raises :exc:`InvalidKey`.
    """
    if text.startswith("did:key:"):
        return parse_public_key(text)
    try:
        data = read_capped(Path(text).resolve(), MAX_BYTES)
        return parse_public_key(text_of(data))
    except OSError as error:
        raise InvalidKey(f"{text} cannot be read: {error.strerror or error}") from None
    except InvalidKey as error:
        raise InvalidKey(f"{text}: {error}") from None
    except NotText as error:
        raise InvalidKey(f"{text} holds no key in text: {error}") from None


def parse_public_key(text: str) -> bytes:
    """The 32 bytes of the key in `text`. Raises :exc:`InvalidKey`."""
    text = text.strip()
    if "PRIVATE KEY" in text:
        raise InvalidKey("that is a private key: keep it where it was, and name the public one")
    try:
        return public_key(text) if text.startswith("did:key:") else check_public_key(_key_in(text))
    except InvalidIdentity as error:
        raise InvalidKey(str(error)) from None


def _key_in(text: str) -> bytes:
    if text.startswith("-----BEGIN PUBLIC KEY-----"):
        return _from_pem(text)
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    if _BASE64.fullmatch(text):
        try:
            return base64.b64decode(text.rstrip("=") + "=", validate=True)
        except binascii.Error:
            pass
    raise InvalidKey("not an Ed25519 public key as did:key, 64 hexadecimal digits, base64 or PEM")


def _from_pem(text: str) -> bytes:
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey("the PEM in it holds no public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidKey("the PEM in it holds a key that is not of Ed25519")
    return key.public_bytes_raw()
