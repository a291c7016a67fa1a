"""The names of Ed25519 keys in TUF metadata."""

from __future__ import annotations

import hashlib


def key_id(public_key: bytes) -> str:
    """The TUF key id of a 32-byte Ed25519 key: SHA-256 of its canonical JSON, in hexadecimal (TUF 1.0, section 4.2)."""
    text = f'{{"keytype":"ed25519","keyval":{{"public":"{public_key.hex()}"}},"scheme":"ed25519"}}'
    return hashlib.sha256(text.encode()).hexdigest()
