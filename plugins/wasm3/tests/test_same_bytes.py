"""wasm3 ends each program as wasmtime does, byte for byte, or refuses it with a reason."""

from __future__ import annotations

import pytest
from plasm_wasm3.hooks import open_wasm3
from plasm_wasm3.options import Wasm3Options
from plasm_wasmtime.hooks import open_wasmtime
from plasm_wasmtime.options import WasmtimeOptions

from plasm.testing import make_scope
from tests.engines.comparing import differences
from tests.engines.programs import programs

pytestmark = pytest.mark.usefixtures("engine")

REFUSED = {
    "throw-for-ever.wat": "reference types",
    "vectors": "SIMD",
    "references": "reference types",
    "tail call": "tail calls",
    "a tag that nothing uses": "exception handling",
    "passive data": "passive data segments",
    "two tables": "more than one table",
}


@pytest.mark.anyio
async def test_every_program_ends_as_on_wasmtime_or_is_refused() -> None:
    async with (
        open_wasmtime(make_scope(), WasmtimeOptions(slots=1)) as reference,
        open_wasm3(make_scope(), Wasm3Options(slots=1)) as runtime,
    ):
        assert not await differences(reference, runtime, programs(), REFUSED)
