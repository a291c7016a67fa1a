"""The runtime keeps the promises of the port; that it counts no fuel it says by ``Usage.fuel``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plasm_wasm3.hooks import open_wasm3
from plasm_wasm3.options import Wasm3Options

from plasm.testing import RuntimeSuite, make_scope

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class TestWasm3(RuntimeSuite):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Any:
        return lambda: open_wasm3(make_scope(home=tmp_path / "home"), Wasm3Options(slots=2))
