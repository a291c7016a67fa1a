"""wasmer ends each program as wasmtime does, byte for byte, or refuses it with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from plasm_wasmer.hooks import open_wasmer
from plasm_wasmer.options import WasmerOptions
from plasm_wasmtime.hooks import open_wasmtime
from plasm_wasmtime.options import WasmtimeOptions

from plasm.testing import make_scope
from tests.engines.comparing import differences
from tests.engines.programs import programs

REFUSED = {
    "throw-for-ever.wat": "exception handling",
    "billion-table.wat": "minimum table size is out of bounds",
    "a tag that nothing uses": "exception handling",
    "tail call": "tail calls support is not enabled",
}


@pytest.mark.anyio
async def test_every_program_ends_as_on_wasmtime_or_is_refused(home: Path) -> None:
    async with (
        open_wasmtime(make_scope(), WasmtimeOptions(slots=1)) as reference,
        open_wasmer(make_scope(home=home), WasmerOptions(slots=1)) as runtime,
    ):
        assert not await differences(reference, runtime, programs(), REFUSED)
