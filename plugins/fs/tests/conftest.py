from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from plasm.drivers import Scope
from plasm.ports import Digest, Store


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    return Scope(home=tmp_path / "store", allows=lambda ip: True, log=logging.getLogger("test"))


@pytest.fixture
def digest_of():
    return lambda content: Digest("sha256:" + hashlib.sha256(content).hexdigest())


@pytest.fixture
def put(digest_of):
    async def put(store: Store, content: bytes) -> Digest:
        digest = digest_of(content)
        async with store.create(digest, len(content)) as writer:
            await writer.write(content)
        return digest

    return put


@pytest.fixture
def file_of(scope: Scope):
    def file_of(digest: Digest) -> Path:
        name = digest.removeprefix("sha256:")
        assert scope.home is not None
        return scope.home / "objects" / name[:2] / name[2:4] / name

    return file_of
