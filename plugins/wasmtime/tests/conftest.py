"""Runtimes to test, modules converted from their sources, and a check that nothing stays behind."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import wasmtime
from plasm_wasmtime.options import WasmtimeOptions
from plasm_wasmtime.runtime import Wasmtime, open_runtime

from plasm.ports import Digest, Invocation, Limits, Outcome, Verdict
from plasm.testing import make_scope

ROOT = Path(__file__).parents[3]
MODULES = ROOT / "tests" / "modules"
HELLO = (ROOT / "examples" / "hello.wasm").read_bytes()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def digest_of(content: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


@cache
def converted(name: str) -> bytes:
    """The module in ``tests/modules/NAME.wat``, in the binary format."""
    return bytes(wasmtime.wat2wasm((MODULES / f"{name}.wat").read_text()))


class Bench:
    """Opens runtimes and runs modules in them."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def open(self, *, stored: bool = False, **options: Any) -> AbstractAsyncContextManager[Wasmtime]:
        options.setdefault("slots", 2)
        options.setdefault("spares", 1)
        scope = make_scope(home=self.home if stored else None)
        return open_runtime(scope, WasmtimeOptions(**options))  # type: ignore[return-value]

    async def run(self, runtime: Wasmtime, module: bytes, **invocation: Any) -> Outcome:
        """Prepare and run `module`; what is no field of an invocation is one of its limits."""
        limits = {name: invocation.pop(name) for name in list(invocation) if name in Limits.__dataclass_fields__}
        limits.setdefault("wall_seconds", 20.0)
        await runtime.prepare(digest_of(module), module)
        return await runtime.run(Invocation(module=digest_of(module), limits=Limits(**limits), **invocation))

    async def check_honest(self, runtime: Wasmtime) -> None:
        """The next honest job works."""
        outcome = await self.run(runtime, HELLO, stdin=b"olleh")
        assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, b"hello"), outcome


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home")


def _descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue
    return {entry for entry in found if "/proc/" not in entry}


@pytest.fixture
def tidy() -> Iterator[Callable[[], None]]:
    """Fails where a test left a process or a descriptor behind."""
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    before = _descriptors()

    def check() -> None:
        left = {child.pid for child in psutil.Process().children(recursive=True)} - children
        assert not left, f"processes stayed behind: {left}"
        assert not _descriptors() - before, f"descriptors stayed behind: {_descriptors() - before}"

    yield check
    check()
