"""What wasmer's compiler fails on is nothing that the module is told to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import wasmtime
from plasm_wasmer.hooks import open_wasmer
from plasm_wasmer.options import WasmerOptions

from plasm.ports import NotPrepared, Runtime
from plasm.testing import make_scope
from plasm.testing.modules import digest_of

pytestmark = pytest.mark.anyio


def _with_many(parameters: int, results: int) -> bytes:
    kinds = f"(param {'i64 ' * parameters}) (result {'i64 ' * results})"
    body = "(i64.const 0)" * results
    return bytes(
        wasmtime.wat2wasm(
            f'(module (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 0) $many)'
            f"(type $t (func {kinds})) (func $many (type $t) {body})"
            f'(func (export "_start") {"(i64.const 0)" * parameters} (call $many) {"(drop)" * results}))'
        )
    )


async def _prepare(runtime: Runtime, module: bytes) -> None:
    await runtime.prepare(digest_of(module), module)


@pytest.mark.parametrize(("parameters", "results"), [(1000, 0), (0, 1000), (1000, 1000)])
async def test_a_valid_module_that_its_compiler_fails_on_is_not_prepared(
    home: Path, parameters: int, results: int
) -> None:
    async with open_wasmer(make_scope(home=home), WasmerOptions(slots=1)) as runtime:
        with pytest.raises(NotPrepared):
            await _prepare(runtime, _with_many(parameters, results))
        await _prepare(runtime, _with_many(3, 3))
