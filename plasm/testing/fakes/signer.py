"""A signer whose key follows from a number."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plasm.drivers import Driver, Options, Scope
from plasm.identity import peer_id
from plasm.ports import PeerId, Signer


class FakeSigner:
    """An Ed25519 key that anyone can work out from `seed`: for tests alone."""

    def __init__(self, seed: int = 0) -> None:
        raw = hashlib.sha256(b"plasm.testing signer" + seed.to_bytes(8, "big")).digest()
        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        self._public = self._key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        return self._public

    @property
    def peer(self) -> PeerId:
        return peer_id(self._public)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def fake_signer_driver(seed: int = 0, *, name: str = "fake") -> Driver[Signer]:
    """A driver that opens ``FakeSigner(seed)``."""

    @asynccontextmanager
    async def open_fake(scope: Scope, options: Options) -> AsyncIterator[FakeSigner]:
        yield FakeSigner(seed)

    return Driver(name=name, open=open_fake, summary="a key that follows from a number")


if TYPE_CHECKING:
    _: type[Signer] = FakeSigner
