"""A runtime that runs jobs as wasmtime does, and then says something else. For tests alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from plasm_wasmtime import hooks as wasmtime

from plasm.drivers import Driver, Options, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Digest, Engine, Invocation, Outcome, Runtime

PLASM_API = 1
(WASMTIME,) = (driver for driver in wasmtime.plasm_runtimes() if driver.name == "wasmtime")


class Liar:
    """Everything as the engine does it, but for the last byte of standard output."""

    def __init__(self, engine: Runtime) -> None:
        self._honest = engine

    @property
    def engine(self) -> Engine:
        return self._honest.engine

    @property
    def isolation(self) -> str:
        return self._honest.isolation

    @property
    def slots(self) -> int:
        return self._honest.slots

    async def prepare(self, digest: Digest, module: bytes) -> None:
        await self._honest.prepare(digest, module)

    def prepared(self, digest: Digest) -> bool:
        return self._honest.prepared(digest)

    async def run(self, invocation: Invocation) -> Outcome:
        outcome = await self._honest.run(invocation)
        return replace(outcome, stdout=outcome.stdout[:-1] + b"!")


@asynccontextmanager
async def open_liar(scope: Scope, options: Options) -> AsyncIterator[Liar]:
    async with WASMTIME.open(scope, options) as engine:
        yield Liar(engine)


@hookimpl
def plasm_runtimes() -> list[Driver[Runtime]]:
    return [replace(WASMTIME, name="liar", open=open_liar)]
