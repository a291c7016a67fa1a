"""Prepares modules: a first look, a compile cell with limits of its own, the result kept."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio import to_thread
from plasm_cell.frames import read_all

from plasm.memory import preparing_memory
from plasm.ports import Digest, NotPrepared, NotRunnable, RuntimeFailed

from .artifacts import Artifact, ArtifactFolder, HeldArtifacts, memory_file, seal
from .cells import Cell, Death
from .cgroups import Group, Starved
from .channel import CellGone, Compiled, Failed, Garbage, GaveUp, Refused, one_line
from .options import CellOptions
from .preamble import check_preamble
from .unprepared import UnpreparedModules
from .warmparents import Starter, WarmParent

_ATTEMPTS = 8
"""A compile cell may be killed from outside, and in a burst of kills the next ones too; the module did nothing wrong
then."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
"""Seconds between the attempts, each pause twice the one before: all of them outlast five seconds of kills."""
_MARGIN_BYTES = 256 << 20
_PATIENCE = 3
"""Of the wall clock for each second of the processor: what compiles gives way to what runs, and on a busy node that
must not be what keeps an honest module out."""


def for_limits(digest: Digest) -> Digest:
    """The name of a module as it is compiled for jobs that limit their fuel."""
    return _derived("limiting", digest)


def _source(digest: Digest) -> Digest:
    return _derived("source", digest)


def _derived(what: str, digest: Digest) -> Digest:
    return Digest("sha256:" + hashlib.sha256(f"{what} {digest}".encode()).hexdigest())


class _NotTheModule(Exception):
    """No compile cell could be had, or it was killed, and not for what the module did."""


class _NoMemory(_NotTheModule):
    """The kernel killed it, since the machine had no memory left."""


@dataclass(frozen=True)
class _Deadline:
    seconds: float
    setting: str

    def __str__(self) -> str:
        return f"{self.seconds:g} s ({self.setting})"


@dataclass(eq=False)
class _Turn:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0


class Compiler:
    """Finds compiled modules and makes those that are missing, each once."""

    def __init__(
        self,
        starter: Starter,
        make_group: Callable[[], Group | None],
        held: HeldArtifacts,
        folder: ArtifactFolder | None,
        options: CellOptions,
        slots: int,
        log: logging.Logger,
        *,
        limits_apart: bool = False,
    ) -> None:
        """At most `slots` modules are compiled at once."""
        self._starter = starter
        self._make_group = make_group
        self._group: Group | None = None
        self._parent: WarmParent | None = None
        self._starting = anyio.Lock()
        self._held = held
        self._folder = folder
        self._options = options
        self._log = log
        self.slots = slots
        self._at_once = anyio.Semaphore(slots)
        self._limits_apart = limits_apart
        # What stays in memory was written by compile cells, and counts as theirs.
        self._memory_bytes = min(options.compile_memory_bytes, preparing_memory() // slots)
        self._group_bytes = slots * (self._memory_bytes + options.artifact_bytes) + options.held_bytes
        self._unprepared = UnpreparedModules(options.unprepared_seconds)
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

    async def prepare(self, digest: Digest, module: bytes, *, own: bool = False) -> None:
        """See :meth:`plasm.ports.Runtime.prepare`; `own` as :meth:`plasm.ports.Patient.prepare_own` says."""
        check_preamble(module, self._options.module_bytes)
        found = await self.find(digest)
        if found is not None:
            os.close(found.descriptor)
            return
        async with self._turn(digest):
            if digest in self._held:
                return
            if not own:
                self._unprepared.check(digest)
            # Keeping it takes descriptors as well, so that is bounded too.
            async with self._at_once:
                compiled = await self._compile(digest, module, self._deadline(own=own))
                if self._limits_apart:
                    try:
                        await self._keep_source(digest, module)
                    except BaseException:
                        os.close(compiled.descriptor)
                        raise
                # After its source: what is added last stays.
                self._held.add(digest, compiled)
                if self._folder is not None:
                    await self._keep(digest, self._folder)

    async def prepare_limiting(self, digest: Digest) -> None:
        """Compile a module that is prepared for jobs that limit their fuel too, if that was not done.

        It is found under :func:`for_limits`. Raises :exc:`KeyError` where its source is here no longer, and then it is
        not prepared any more, :exc:`NotPrepared`, :exc:`NotRunnable` or :exc:`RuntimeFailed`.
        """
        key = for_limits(digest)
        if self.prepared(key):
            return
        async with self._turn(key):
            if self.prepared(key):
                return
            self._unprepared.check(key)
            source = await self.find(_source(digest))
            if source is None:
                self.forget(digest)
                raise KeyError(digest)
            try:
                module = await to_thread.run_sync(read_all, source.descriptor)
            finally:
                os.close(source.descriptor)
            async with self._at_once:
                self._held.add(key, await self._compile(key, module, self._deadline(own=False), limiting=True))
                if self._folder is not None:
                    await self._keep(key, self._folder)

    async def _keep_source(self, digest: Digest, module: bytes) -> None:
        source = Artifact(await to_thread.run_sync(memory_file, "module", module), len(module), starts=False)
        if self._folder is None:
            self._held.add(_source(digest), source)
            return
        try:
            await to_thread.run_sync(self._folder.store, _source(digest), source)
        except OSError as error:
            self._log.warning("a module could not be kept: %s", error.strerror)
        finally:
            os.close(source.descriptor)

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

    def _deadline(self, *, own: bool) -> _Deadline:
        options = self._options
        if own and options.own_compile_seconds > options.compile_seconds:
            return _Deadline(options.own_compile_seconds, "own_compile_seconds")
        return _Deadline(options.compile_seconds, "compile_seconds")

    async def _compile(self, digest: Digest, module: bytes, deadline: _Deadline, *, limiting: bool = False) -> Artifact:
        reason = ""
        begun = anyio.current_time()
        for attempt in range(_ATTEMPTS):
            if attempt:
                if anyio.current_time() - begun > _PATIENCE * deadline.seconds:
                    break
                await anyio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1)))
            try:
                return await self._compile_once(module, deadline, limiting=limiting)
            except _NoMemory as problem:
                if attempt:
                    raise self._not_prepared(digest, str(problem)) from None
                reason = str(problem)
            except _NotTheModule as problem:
                reason = str(problem)
            except NotPrepared as problem:
                raise self._not_prepared(digest, str(problem)) from None
        raise RuntimeFailed(reason)

    def _not_prepared(self, digest: Digest, reason: str) -> NotPrepared:
        self._unprepared.remember(digest, reason)
        self._log.info("module %s: %s", digest, reason)
        return NotPrepared(reason)

    async def _compile_once(self, module: bytes, deadline: _Deadline, *, limiting: bool) -> Artifact:
        source, target = -1, -1
        try:
            parent = await self._warm()
            cell = await parent.fork(self._options.artifact_bytes, self._options.start_seconds)
        except RuntimeFailed as failure:
            raise _NotTheModule(str(failure)) from None
        if self._group is not None:
            self._group.reset_peak()
        try:
            source = await to_thread.run_sync(memory_file, "module", module)
            target = memory_file("compiled")
            compiled = await self._ask(cell, source, target, len(module), deadline, limiting=limiting)
        except BaseException:
            if target >= 0:
                os.close(target)
            raise
        finally:
            if source >= 0:
                os.close(source)
            await cell.end()
        try:
            seal(target)
            size = os.fstat(target).st_size
        except OSError as error:
            os.close(target)
            raise NotPrepared(f"the compiled module could not be sealed: {error.strerror}") from None
        if not size:
            os.close(target)
            raise NotPrepared("the process that compiles wrote nothing")
        return Artifact(target, size, compiled.starts)

    async def _warm(self) -> WarmParent:
        async with self._starting:
            if self._parent is None or self._parent.lost:
                if self._group is None:
                    self._group = self._make_group()
                    if self._group is not None:
                        self._group.limit(self._group_bytes + _MARGIN_BYTES)
                self._parent = await self._starter.start(
                    "compile", self._options.start_seconds, self._group, lambda: None
                )
            return self._parent

    async def _ask(
        self, cell: Cell, source: int, target: int, module_bytes: int, deadline: _Deadline, *, limiting: bool
    ) -> Compiled:
        """What the cell says of the module.

        Raises :exc:`NotRunnable`, :exc:`NotPrepared`, :exc:`RuntimeFailed` or :exc:`_NotTheModule`.
        """
        job = {
            "module_bytes": module_bytes,
            "limiting": limiting,
            "memory_bytes": self._memory_bytes,
            "seconds": deadline.seconds,
        }
        reply = None
        try:
            with anyio.fail_after(_PATIENCE * deadline.seconds):
                await cell.channel.send(job, descriptors=(source, target))
                reply, _ = await cell.channel.receive()
        except TimeoutError:
            raise NotPrepared(f"compiling the module takes more than {deadline}") from None
        except CellGone:
            died_by_itself = not cell.killed
            death = await cell.end()
            if death.code in (-signal.SIGXCPU, -signal.SIGKILL) and death.cpu_seconds >= deadline.seconds:
                # At its hard limit of processor time the kernel sends SIGKILL (setrlimit(2)).
                raise NotPrepared(f"compiling the module takes more than {deadline}") from None
            starved = None if self._group is None else self._group.starved()
            if died_by_itself and death.code == -signal.SIGKILL and starved is not Starved.GROUP:
                if starved is Starved.MACHINE:
                    raise _NoMemory("this machine has too little memory to compile the module") from None
                raise _NotTheModule("processes that compile are killed before they are done") from None
            raise NotPrepared(self._died(death, deadline)) from None
        except Garbage:
            pass
        match reply:
            case Compiled():
                return reply
            case Refused(detail=detail):
                raise NotRunnable(one_line(detail))
            case GaveUp(detail=detail) | Failed(detail=detail):
                raise NotPrepared(f"the module could not be compiled: {one_line(detail)}")
        raise NotPrepared("the process that compiles sent what it should not")

    def _died(self, death: Death, deadline: _Deadline) -> str:
        return (
            f"compiling the module ended by {death}; "
            f"it may use {deadline} and {self._memory_bytes >> 20} MiB (compile_memory_bytes)"
        )

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
