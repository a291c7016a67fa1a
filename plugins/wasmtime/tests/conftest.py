"""Runtimes to test, modules converted from their sources, and a check that nothing stays behind."""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import wasmtime
from plasm_cells.runtime import CellRuntime
from plasm_wasmtime.hooks import open_wasmtime
from plasm_wasmtime.options import WasmtimeOptions

from plasm.ports import Digest, Invocation, Limits, Outcome, Verdict
from plasm.testing import make_scope
from tests.children import leaves_nothing, shared_bytecode

__all__ = ["leaves_nothing", "shared_bytecode"]

Opened = AbstractAsyncContextManager[CellRuntime]

ROOT = Path(__file__).parents[3]
MODULES = ROOT / "tests" / "modules"
HELLO = (ROOT / "examples" / "hello.wasm").read_bytes()


@pytest.fixture
def anyio_backend() -> str:
    """What holds in the child holds whatever loop the node runs; tests of the node's side name both back ends."""
    return "trio"


def digest_of(content: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


@cache
def converted(name: str) -> bytes:
    """The module in ``tests/modules/NAME.wat``, in the binary format."""
    return bytes(wasmtime.wat2wasm((MODULES / f"{name}.wat").read_text()))


class Bench:
    """Opens runtimes and runs modules in them."""

    hello = HELLO
    digest = staticmethod(digest_of)
    module = staticmethod(converted)

    def __init__(self, home: Path) -> None:
        self.home = home

    def open(self, *, home: Path | None = None, **options: Any) -> Opened:
        options.setdefault("slots", 2)
        options.setdefault("spares", 1)
        return cast("Opened", open_wasmtime(make_scope(home=home or self.home), WasmtimeOptions(**options)))

    def open_without_home(self, **options: Any) -> Opened:
        return cast("Opened", open_wasmtime(make_scope(), WasmtimeOptions(slots=2, spares=1, **options)))

    async def run(self, runtime: CellRuntime, module: bytes, **invocation: Any) -> Outcome:
        """Prepare and run `module`; what is no field of an invocation is one of its limits."""
        limits = {name: invocation.pop(name) for name in list(invocation) if name in Limits.__dataclass_fields__}
        limits.setdefault("wall_seconds", 20.0)
        invocation.setdefault("trusted", True)
        await runtime.prepare(digest_of(module), module)
        return await runtime.run(Invocation(module=digest_of(module), limits=Limits(**limits), **invocation))

    async def check_honest(self, runtime: CellRuntime) -> None:
        """The next honest job works."""
        outcome = await self.run(runtime, HELLO, stdin=b"olleh")
        assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, b"hello"), outcome


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of compiled modules for all tests that do not mind."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def hello_file() -> Path:
    """The example module on disk, for programs that the tests start."""
    return ROOT / "examples" / "hello.wasm"


@pytest.fixture
def bench(shared_home: Path) -> Bench:
    return Bench(shared_home)
