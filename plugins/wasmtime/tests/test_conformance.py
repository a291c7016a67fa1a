"""Both ways of isolation keep the promises of the runtime port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plasm_wasmtime.hooks import open_wasmtime
from plasm_wasmtime.options import WasmtimeOptions

from plasm.testing import RuntimeSuite, make_scope


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class TestCell(RuntimeSuite):
    @pytest.fixture
    def make(self) -> Any:
        return lambda: open_wasmtime(make_scope(), WasmtimeOptions(isolation="cell", slots=2, spares=1))


class TestReused(RuntimeSuite):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Any:
        return lambda: open_wasmtime(make_scope(home=tmp_path / "home"), WasmtimeOptions(isolation="reused", slots=2))
