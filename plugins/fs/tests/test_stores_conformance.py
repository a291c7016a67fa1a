from __future__ import annotations

from pathlib import Path

import pytest
from plasm_fs.hooks import FsOptions, MemoryOptions, open_fs, open_memory

from plasm.ports import Digest, Store
from plasm.testing import StoreSuite, make_scope


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
