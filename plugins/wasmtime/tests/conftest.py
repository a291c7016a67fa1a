"""Runtimes to test, modules converted from their sources, and a check that nothing stays behind."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import wasmtime
from plasm_cells.runtime import CellRuntime
from plasm_wasmtime.hooks import open_wasmtime
from plasm_wasmtime.options import WasmtimeOptions

from plasm.ports import Digest, Invocation, Limits, Outcome, Verdict
from plasm.testing import make_scope

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


@pytest.fixture(scope="session", autouse=True)
def _bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hundreds of short processes share what the first of them compiled, wherever the tests run."""
    before = sys.dont_write_bytecode, sys.pycache_prefix
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(tmp_path_factory.mktemp("bytecode"))
    yield
    sys.dont_write_bytecode, sys.pycache_prefix = before


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


def _descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {entry for entry in found if "/proc/" not in entry}


@contextmanager
def _leaves_nothing() -> Iterator[None]:
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    before = _descriptors()
    yield
    left = {child.pid for child in psutil.Process().children(recursive=True)} - children
    assert not left, f"processes stayed behind: {left}"
    assert not _descriptors() - before, f"descriptors stayed behind: {_descriptors() - before}"


@pytest.fixture
def leaves_nothing() -> Callable[[], AbstractContextManager[None]]:
    """``with leaves_nothing():`` fails where the block leaves a process or a descriptor behind."""
    return _leaves_nothing
