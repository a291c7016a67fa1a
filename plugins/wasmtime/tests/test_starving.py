"""What this machine does not give is told to no program: the run says nothing about the job then."""

from __future__ import annotations

import ctypes

import pytest
from plasm_wasmtime import library
from plasm_wasmtime.hooks import open_wasmtime
from plasm_wasmtime.memory import Memories
from plasm_wasmtime.options import WasmtimeOptions
from plasm_wasmtime.settings import ENGINE_SETTINGS

from plasm.testing import make_scope
from tests.engines.starving import LimitedProcess, check_that_nothing_begins_without_what_its_limits_allow


@pytest.mark.anyio
async def test_a_job_whose_memory_the_node_was_not_given_does_not_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plasm_cells.warmparents.subprocess.Popen", LimitedProcess)
    async with open_wasmtime(make_scope(), WasmtimeOptions(slots=1, spares=0)) as runtime:
        await check_that_nothing_begins_without_what_its_limits_allow(runtime)


class Ended(BaseException):
    """The process would have ended here."""


@pytest.fixture
def memories(monkeypatch: pytest.MonkeyPatch) -> Memories:
    def starve() -> None:
        raise Ended

    monkeypatch.setattr("plasm_wasmtime.memory.starve", starve)
    made = Memories(library.load(ENGINE_SETTINGS))
    made.begin(1 << 30)
    return made


@pytest.mark.parametrize("call", ["_mmap", "_mprotect"])
def test_a_memory_below_the_limit_that_the_machine_refuses_ends_the_cell(
    memories: Memories, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    out = library.LinearMemory()
    monkeypatch.setattr(memories, call, lambda *_: None if call == "_mmap" else -1)
    with pytest.raises(Ended):
        memories._new(None, None, 65536, 1 << 32, 1 << 32, 1 << 20, ctypes.addressof(out))
    assert not memories.refused


def test_a_growth_below_the_limit_that_the_machine_refuses_ends_the_cell(
    memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = library.LinearMemory()
    assert memories._new(None, None, 65536, 1 << 32, 1 << 32, 1 << 20, ctypes.addressof(out)) == 0
    monkeypatch.setattr(memories, "_mprotect", lambda *_: -1)
    with pytest.raises(Ended):
        memories._grow(out.env, 2 * 65536)
    assert not memories.refused
    assert memories._grow(out.env, 1 << 31), "above the limit it is refused, and the guest is told"
    assert memories.refused
