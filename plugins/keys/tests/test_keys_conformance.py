from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plasm_keys import keyfile
from plasm_keys.hooks import EncryptedOptions, FileOptions, open_encrypted, open_ephemeral, open_file

from plasm.drivers import Options
from plasm.testing import SignerSuite, make_scope


class TestFile(SignerSuite):
    @pytest.fixture
    def make(self, tmp_path: Path):
        return lambda: open_file(make_scope(home=tmp_path), FileOptions())


class TestEncrypted(SignerSuite):
    @pytest.fixture
    def make(self, tmp_path: Path, lock_cheaply: Callable[[bytes, str], bytes]):
        async def ask(question: str) -> str:
            return "passphrase"

        path = tmp_path / "release.age"
        path.touch(mode=0o600)
        path.write_bytes(lock_cheaply(keyfile.pem_of(Ed25519PrivateKey.generate()), "passphrase"))
        scope = dataclasses.replace(make_scope(), ask=ask)
        return lambda: open_encrypted(scope, EncryptedOptions(uri=path.as_uri().replace("file:", "encrypted:")))


class TestEphemeral(SignerSuite):
    @pytest.fixture
    def make(self):
        return lambda: open_ephemeral(make_scope(), Options())
