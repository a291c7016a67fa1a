"""Prepares modules: a first look, a compile cell with limits of its own, the result kept."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio import to_thread

from plasm.ports import Digest, NotRunnable, RuntimeFailed

from .artifacts import Artifact, ArtifactFolder, HeldArtifacts, memory_file, seal
from .channel import CellGone, Compiled, Failed, Garbage, Refused, one_line
from .children import Child, Children
from .modules import check_preamble
from .options import WasmtimeOptions


@dataclass(eq=False)
class _Turn:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0


class Compiler:
    """Finds compiled modules and makes those that are missing, each once."""

    def __init__(
        self,
        children: Children,
        held: HeldArtifacts,
        folder: ArtifactFolder | None,
        options: WasmtimeOptions,
        slots: int,
        log: logging.Logger,
    ) -> None:
        self._children = children
        self._held = held
        self._folder = folder
        self._options = options
        self._log = log
        self._at_once = anyio.Semaphore(slots)
        self._turns: dict[Digest, _Turn] = {}

    def prepared(self, digest: Digest) -> bool:
        return digest in self._held or (self._folder is not None and self._folder.has(digest))

    async def find(self, digest: Digest) -> Artifact | None:
        """With a descriptor that the caller closes."""
        found = self._held.get(digest)
        if found is not None or self._folder is None or not self._folder.has(digest):
            return found
        async with self._turn(digest):
            if digest not in self._held:
                loaded = await to_thread.run_sync(self._folder.load, digest)
                if loaded is not None:
                    self._held.add(digest, loaded)
        return self._held.get(digest)

    async def prepare(self, digest: Digest, module: bytes) -> None:
        """See :meth:`plasm.ports.Runtime.prepare`."""
        check_preamble(module, self._options.module_bytes)
        found = await self.find(digest)
        if found is not None:
            os.close(found.descriptor)
            return
        async with self._turn(digest):
            if digest in self._held:
                return
            # Keeping it takes descriptors as well, so that is bounded too.
            async with self._at_once:
                self._held.add(digest, await self._compile(module))
                if self._folder is not None:
                    await self._keep(digest, self._folder)

    def forget(self, digest: Digest) -> None:
        """The compiled module does not load: it is of another machine, or was damaged."""
        self._held.discard(digest)
        if self._folder is not None:
            self._folder.discard(digest)

    async def _keep(self, digest: Digest, folder: ArtifactFolder) -> None:
        try:
            copy = self._held.get(digest)
        except RuntimeFailed as error:
            self._log.warning("a compiled module could not be kept: %s", error)
            return
        if copy is None:
            return
        try:
            await to_thread.run_sync(folder.store, digest, copy)
        except OSError as error:
            self._log.warning("a compiled module could not be kept: %s", error.strerror)
        finally:
            os.close(copy.descriptor)

    async def _compile(self, module: bytes) -> Artifact:
        options = self._options
        child = await self._children.start("compile", options.start_seconds)
        source, target = -1, -1
        try:
            source = await to_thread.run_sync(memory_file, "module", module)
            target = memory_file("compiled")
            compiled = await self._ask(child, source, target)
        except BaseException:
            if target >= 0:
                os.close(target)
            raise
        finally:
            if source >= 0:
                os.close(source)
            await self._children.end(child)
        try:
            seal(target)
            size = os.fstat(target).st_size
        except OSError as error:
            os.close(target)
            raise RuntimeFailed(f"the compiled module could not be sealed: {error.strerror}") from None
        return Artifact(target, size, compiled.starts)

    async def _ask(self, child: Child, source: int, target: int) -> Compiled:
        """What the cell says of the module. Raises :exc:`NotRunnable` or :exc:`RuntimeFailed`."""
        options = self._options
        job = {
            "artifact_bytes": options.artifact_bytes,
            "memory_bytes": options.compile_memory_bytes,
            "seconds": options.compile_seconds,
        }
        limits = f"{options.compile_seconds:g} s and {options.compile_memory_bytes >> 20} MiB"
        problem = "the process that compiles sent what it should not"
        reply = None
        try:
            with anyio.fail_after(options.compile_seconds):
                await child.channel.send(job, descriptors=(source, target))
                reply, _ = await child.channel.receive()
        except TimeoutError:
            problem = f"compiling the module takes more than {options.compile_seconds:g} s"
        except CellGone:
            death = await self._children.end(child)
            problem = f"compiling the module ended by {death}; it may use {limits}"
        except Garbage:
            pass
        match reply:
            case Compiled():
                return reply
            case Refused(detail=detail):
                raise NotRunnable(one_line(detail))
            case Failed(detail=detail):
                problem = f"the module could not be compiled: {one_line(detail)}"
        raise RuntimeFailed(problem)

    @asynccontextmanager
    async def _turn(self, digest: Digest) -> AsyncIterator[None]:
        turn = self._turns.setdefault(digest, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[digest]
