"""The modules that runtimes are tried with are what their text says."""

from __future__ import annotations

import pytest

from plasm.testing import modules

ALL = [*modules.RUNNABLE, modules.NO_START, modules.MISSING_IMPORT]


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.name)
def test_the_binary_is_what_the_text_assembles_to(module: modules.Module) -> None:
    wasmtime = pytest.importorskip("wasmtime")
    assert bytes(wasmtime.wat2wasm(module.wat)) == module.wasm


def test_distinct_versions_have_digests_of_their_own_and_are_valid() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    assert len({modules.digest_of(version) for version in modules.ECHO_VERSIONS}) == len(modules.ECHO_VERSIONS)
    for version in modules.ECHO_VERSIONS:
        wasmtime.Module.validate(wasmtime.Engine(), version)
