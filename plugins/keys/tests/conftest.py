from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PASSPHRASE = "correct horse battery staple"

Lock = Callable[..., bytes]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "identity.key"


@pytest.fixture(autouse=True)
def no_named_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLASM_PASSPHRASE_FILE", raising=False)


@pytest.fixture(scope="session")
def lock_cheaply() -> Lock:
    """An age file as the specification has it, written without the library that reads it, of little work to open."""

    def lock(data: bytes, passphrase: str = PASSPHRASE, *, factor: int = 4) -> bytes:
        file_key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
        # Where only the header will be read, the work is not done.
        wrap_key = hashlib.scrypt(
            passphrase.encode(),
            salt=b"age-encryption.org/v1/scrypt" + salt,
            n=2 ** min(factor, 10),
            r=8,
            p=1,
            dklen=32,
        )
        stanza = b"-> scrypt %s %d\n%s" % (_base64(salt), factor, _base64(_seal(wrap_key, bytes(12), file_key)))
        header = b"age-encryption.org/v1\n" + stanza + b"\n---"
        mac = hmac.digest(_derive(file_key, None, b"header"), header, "sha256")
        payload = _seal(_derive(file_key, nonce, b"payload"), bytes(11) + b"\1", data)
        return header + b" " + _base64(mac) + b"\n" + nonce + payload

    return lock


def _base64(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _seal(key: bytes, nonce: bytes, data: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce, data, None)


def _derive(key: bytes, salt: bytes | None, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose).derive(key)
