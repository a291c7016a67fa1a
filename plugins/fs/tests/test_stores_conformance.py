from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from plasm_fs.hooks import FsOptions, MemoryOptions, open_fs, open_memory

from plasm.ports import Digest, Store
from plasm.testing import StoreSuite, make_scope
from plasm.testing.modules import digest_of

MakeStore = Callable[[], AbstractAsyncContextManager[Store]]


class TestFs(StoreSuite):
    @pytest.fixture
    def make(self, tmp_path: Path):
        self.home = tmp_path
        return lambda: open_fs(make_scope(home=tmp_path), FsOptions())

    async def corrupt(self, store: Store, digest: Digest, content: bytes) -> bool:
        (file,) = self.home.glob(f"objects/*/*/{digest.removeprefix('sha256:')}")
        file.write_bytes(content)
        return True


class TestMemory(StoreSuite):
    @pytest.fixture
    def make(self):
        return lambda: open_memory(make_scope(), MemoryOptions())

    # What it holds are immutable bytes of this process, verified when they came: nothing gets behind its back.
    test_what_was_damaged_is_never_returned = None

    async def test_what_was_written_does_not_change_with_the_writers_buffer(self, make: MakeStore) -> None:
        async with make() as store:
            digest = digest_of(b"precious")
            buffer = bytearray(b"precious")
            async with store.create(digest, len(buffer)) as writer:
                await writer.write(memoryview(buffer))
                buffer[:] = b"damaged!"
            buffer[:] = b"garbage!"
            await self.check_content(store, digest, b"precious", "what is held is the store's own copy")
