"""Ed25519 keys in files: PKCS#8 (RFC 5958, RFC 8410) in PEM, unencrypted, readable by their owner alone."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from plasm.files import NotText, text_of
from plasm.ports import Signer
from plasm_keys.private_file import KeyExists, KeyMissing, KeyRefused, publish_private, read_private

__all__ = [
    "MAX_PEM_BYTES",
    "KeyExists",
    "KeyInMemory",
    "KeyMissing",
    "KeyRefused",
    "create",
    "export",
    "install",
    "load",
    "load_or_create",
    "parse_pem",
    "pem_of",
]

MAX_PEM_BYTES = 4096
"""The PEM of an Ed25519 key has 119 bytes; the rest is room for comments."""


class KeyInMemory:
    """A signer whose key is held by this process."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def generate(cls) -> KeyInMemory:
        """A new key from the operating system's random source."""
        return cls(Ed25519PrivateKey.generate())

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message` (RFC 8032)."""
        return self._key.sign(message)


def load(path: Path) -> Signer:
    """The key at `path`. Raises :exc:`KeyMissing`, :exc:`KeyRefused` or :exc:`SignerError`."""
    return KeyInMemory(parse_pem(read_private(path, MAX_PEM_BYTES), str(path)))


def create(path: Path) -> Signer:
    """A new key, published at `path` with mode 0600. Raises :exc:`KeyExists` or :exc:`SignerError`."""
    key = Ed25519PrivateKey.generate()
    publish_private(path, pem_of(key))
    return KeyInMemory(key)


def load_or_create(path: Path) -> Signer:
    """The key at `path`; where there is none a new one, of which there is one however many create it at once.

    Raises :exc:`KeyRefused` or :exc:`SignerError`.
    """
    try:
        return load(path)
    except KeyMissing:
        pass
    try:
        return create(path)
    except KeyExists:
        return load(path)


def export(path: Path) -> bytes:
    """The private key at `path` as PEM, for a backup. Raises as :func:`load`."""
    return pem_of(parse_pem(read_private(path, MAX_PEM_BYTES), str(path)))


def install(path: Path, pem: bytes) -> None:
    """Publish the key in `pem` at `path` with mode 0600.

    Raises :exc:`KeyRefused` where `pem` holds no unencrypted Ed25519 private key, :exc:`KeyExists` where there is a
    file already, or :exc:`SignerError`.
    """
    publish_private(path, pem_of(parse_pem(pem, "what was given")))


def pem_of(key: Ed25519PrivateKey) -> bytes:
    """`key` as PKCS#8 in PEM, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parse_pem(pem: bytes, where: str) -> Ed25519PrivateKey:
    """The Ed25519 key in `pem`, which messages call `where`. Raises :exc:`KeyRefused` where there is none."""
    if len(pem) > MAX_PEM_BYTES:
        raise KeyRefused(f"{where!r} is too large to be a key (more than {MAX_PEM_BYTES} bytes)")
    try:
        key = load_pem_private_key(text_of(pem).encode(), password=None)
    except TypeError:
        raise KeyRefused(f"the key in {where!r} is encrypted; decrypt it: openssl pkcs8 -in FILE -out NEW") from None
    except NotText as error:
        raise KeyRefused(f"{where!r} holds no private key in PEM: {error}") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):
        # The last is for a key that is too long or too short. The library's message and context are dropped: they may
        # quote what it was parsing.
        raise KeyRefused(f"{where!r} holds no private key in PEM (PKCS#8); restore it from a backup") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyRefused(f"the key in {where!r} is not an Ed25519 key; make one: openssl genpkey -algorithm ed25519")
    return key


_: type[Signer] = KeyInMemory
