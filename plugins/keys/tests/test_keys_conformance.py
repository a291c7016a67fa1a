from __future__ import annotations

from pathlib import Path

import pytest
from plasm_keys.hooks import FileOptions, open_ephemeral, open_file

from plasm.drivers import Options
from plasm.testing import SignerSuite, make_scope


class TestFile(SignerSuite):
    @pytest.fixture
    def make(self, tmp_path: Path):
        return lambda: open_file(make_scope(home=tmp_path), FileOptions())


class TestEphemeral(SignerSuite):
    @pytest.fixture
    def make(self):
        return lambda: open_ephemeral(make_scope(), Options())
