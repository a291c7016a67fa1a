"""The runtime keeps the promises of the port; that it counts no fuel it says by ``Usage.fuel``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plasm_wasmer.hooks import open_wasmer
from plasm_wasmer.options import WasmerOptions

from plasm.testing import RuntimeSuite, make_scope


class TestWasmer(RuntimeSuite):
    @pytest.fixture
    def make(self, home: Path) -> Any:
        return lambda: open_wasmer(make_scope(home=home), WasmerOptions(slots=2, spares=1))
