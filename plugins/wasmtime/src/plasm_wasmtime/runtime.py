"""The runtime ``wasmtime``: prepares modules and runs them in processes other than the node's."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from plasm.drivers import Scope
from plasm.ports import Digest, Engine, Invocation, Outcome, Runtime, RuntimeFailed

from .artifacts import Artifact, ArtifactFolder, HeldArtifacts
from .cell.settings import CONFIGURATION
from .children import Children
from .compiler import Compiler
from .execution import Execution, NotBegun, NotLoaded, check
from .options import WasmtimeOptions
from .pool import Pool

_CLOSE_SECONDS = 2.0
"""For killed processes to be reaped; the kernel frees a few hundred megabytes in a tenth of that."""
_ATTEMPTS = 3
"""A cell that stood ready may have been killed from outside before its job began; the job goes to another."""


@asynccontextmanager
async def open_runtime(scope: Scope, options: WasmtimeOptions) -> AsyncIterator[Wasmtime]:
    """A :class:`Wasmtime` whose processes are gone when the block is left, within two seconds or so."""
    engine = Engine(
        name="wasmtime",
        version=importlib.metadata.version("wasmtime"),
        configuration={**CONFIGURATION, "architecture": platform.machine()},
    )
    held = HeldArtifacts(options.held_bytes)
    folder = _folder(scope, engine, options)
    children = Children()
    slots = options.slots or os.cpu_count() or 1
    failure = None
    try:
        async with anyio.create_task_group() as tasks:
            try:
                pool = Pool(
                    children,
                    tasks,
                    scope.log,
                    slots=slots,
                    spares=slots if options.spares is None else options.spares,
                    reuse=options.isolation == "reused",
                    start_seconds=options.start_seconds,
                )
                compiler = Compiler(children, held, folder, options, slots, scope.log)
                yield Wasmtime(engine, options, slots, children, pool, compiler)
            except Exception as error:
                # What the caller raises leaves the block as it is and not in the task group's exception group.
                failure = error
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_SECONDS):
            await children.end_all()
        held.clear()
    if failure is not None:
        raise failure


def _folder(scope: Scope, engine: Engine, options: WasmtimeOptions) -> ArtifactFolder | None:
    if scope.home is None:
        return None
    configuration = json.dumps(dict(engine.configuration), sort_keys=True)
    folder = ArtifactFolder(
        scope.home / "compiled", f"{engine.name} {engine.version} {configuration}", options.cache_bytes
    )
    try:
        folder.open()
    except OSError as error:
        scope.log.warning("compiled modules are kept in memory only: %s", error.strerror)
        return None
    return folder


class Wasmtime:
    """See :class:`plasm.ports.Runtime`; open it with :func:`open_runtime`."""

    def __init__(
        self,
        engine: Engine,
        options: WasmtimeOptions,
        slots: int,
        children: Children,
        pool: Pool,
        compiler: Compiler,
    ) -> None:
        self._engine = engine
        self._options = options
        self._slots = slots
        self._children = children
        self._pool = pool
        self._compiler = compiler
        self._free = anyio.Semaphore(slots, fast_acquire=True)

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def isolation(self) -> str:
        return self._options.isolation

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are alive."""
        return self._children.pids

    async def prepare(self, digest: Digest, module: bytes) -> None:
        await self._compiler.prepare(digest, module)

    def prepared(self, digest: Digest) -> bool:
        return self._compiler.prepared(digest)

    async def run(self, invocation: Invocation) -> Outcome:
        check(invocation)
        async with self._free:
            artifact = await self._compiler.find(invocation.module)
            if artifact is None:
                raise KeyError(invocation.module)
            try:
                for _ in range(_ATTEMPTS):
                    with contextlib.suppress(NotBegun):
                        return await self._run_once(invocation, artifact)
            except NotLoaded as error:
                self._compiler.forget(invocation.module)
                if artifact.stored:
                    raise KeyError(invocation.module) from None
                raise RuntimeFailed(f"the compiled module does not load: {error}") from None
            except ValueError as error:
                raise RuntimeFailed(str(error)) from None
            finally:
                os.close(artifact.descriptor)
        raise RuntimeFailed("processes for jobs end before a job begins in them")

    async def _run_once(self, invocation: Invocation, artifact: Artifact) -> Outcome:
        child = await self._pool.take(invocation.module)
        execution = Execution(
            children=self._children,
            child=child,
            invocation=invocation,
            artifact=artifact,
            start_seconds=self._options.start_seconds,
            reuse=self._options.isolation == "reused",
        )
        try:
            outcome, reusable = await execution.run()
        except BaseException:
            try:
                await self._children.end(child)
            finally:
                self._pool.gone()
            raise
        if reusable:
            self._pool.give_back(child)
        else:
            self._pool.gone()
        return outcome


if TYPE_CHECKING:
    _: type[Runtime] = Wasmtime
