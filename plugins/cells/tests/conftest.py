"""Runtimes of cells with an engine whose guests are Python source, and a check that nothing stays behind."""

from __future__ import annotations

import hashlib
import textwrap
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from plasm_cells import guards
from plasm_cells.options import CellOptions
from plasm_cells.runtime import CellRuntime, open_runtime
from plasm_cells.spec import EngineSpec

from plasm.ports import Digest, Invocation, Limits, Outcome, Verdict
from plasm.testing import make_scope
from tests.children import leaves_nothing, shared_bytecode

__all__ = ["leaves_nothing", "shared_bytecode"]

ENGINE = Path(__file__).parent / "engine"
_PREAMBLE = b"\0asm\1\0\0\0"


@pytest.fixture
def anyio_backend() -> str:
    """What holds in a cell holds whatever loop the node runs; tests of the node's side name both back ends."""
    return "trio"


def guest(source: str) -> bytes:
    """A module for the engine ``escaped``."""
    return _PREAMBLE + textwrap.dedent(source).encode()


class Bench:
    """Opens runtimes and runs guests in them."""

    hello = guest("layer.stdout += bytes(layer.given['stdin'])[::-1]")
    guest = staticmethod(guest)

    def __init__(self, home: Path) -> None:
        self.home = home

    @staticmethod
    def spec(**changes: Any) -> EngineSpec:
        given = {"name": "escaped", "version": "1", "module": "escaped", "paths": (ENGINE,), "counts_fuel": False}
        return EngineSpec(**{**given, **changes})

    @staticmethod
    def digest(content: bytes) -> Digest:
        return Digest("sha256:" + hashlib.sha256(content).hexdigest())

    def open(
        self, *, home: Path | None = None, probe: Any = guards.probe, spec: EngineSpec | None = None, **options: Any
    ) -> AbstractAsyncContextManager[CellRuntime]:
        options.setdefault("slots", 2)
        scope = make_scope() if home is None else make_scope(home=home)
        return open_runtime(scope, CellOptions(**options), spec or self.spec(), probe)

    async def run(self, runtime: CellRuntime, module: bytes | str, **invocation: Any) -> Outcome:
        """Prepare and run `module`; what is no field of an invocation is one of its limits."""
        content = module if isinstance(module, bytes) else guest(module)
        limits = {name: invocation.pop(name) for name in list(invocation) if name in Limits.__dataclass_fields__}
        limits.setdefault("wall_seconds", 20.0)
        await runtime.prepare(self.digest(content), content)
        return await runtime.run(Invocation(module=self.digest(content), limits=Limits(**limits), **invocation))

    async def check_honest(self, runtime: CellRuntime, **invocation: Any) -> None:
        """The next honest job works."""
        outcome = await self.run(runtime, "layer.stdout += b'hello'", **invocation)
        assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, b"hello"), outcome


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
