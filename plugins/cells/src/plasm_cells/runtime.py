"""A runtime of cells for one engine: prepares modules and runs them in processes other than the node's."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from plasm_cell import wasi
from plasm_cell.lockdown import Walls

from plasm.drivers import DriverUnavailable, Scope
from plasm.memory import preparing_memory
from plasm.ports import Compiling, Digest, Engine, Guarded, Invocation, Outcome, Patient, Runtime, RuntimeFailed

from . import cgroups, guards, seccomp
from .artifacts import Artifact, ArtifactFolder, HeldArtifacts
from .compiler import Compiler, for_limits
from .execution import Execution, NotBegun, NotLoaded, check
from .guards import Machine, Probe
from .options import CellOptions
from .slots import Slot
from .spec import EngineSpec
from .warmparents import Role, Starter

_CLOSE_SECONDS = 2.0
"""For killed processes to be reaped; the kernel frees a few hundred megabytes in a tenth of that."""
_ATTEMPTS = 3
"""A cell that stood ready may have been killed from outside before its job began; the job goes to another."""


def check_walls(options: CellOptions, probe: Probe = guards.probe) -> Machine:
    """What this machine can put around cells. Blocks for some tens of milliseconds.

    Raises :exc:`DriverUnavailable` where it lacks a wall and the options do not allow that.
    """
    machine = probe(options.user)
    if machine.weaknesses and not options.allow_weaker:
        lacks = "; ".join(weakness.lack for weakness in machine.weaknesses)
        mends = "; ".join(weakness.mend for weakness in machine.weaknesses)
        raise DriverUnavailable(
            lacks, f"{mends}, or set allow_weaker = true in the configuration, in its table such as [runtime.wasmtime]"
        )
    return machine


@asynccontextmanager
async def open_runtime(
    scope: Scope, options: CellOptions, spec: EngineSpec, probe: Probe = guards.probe
) -> AsyncIterator[CellRuntime]:
    """A :class:`CellRuntime` whose processes are gone when the block is left, within two seconds or so.

    Raises :exc:`DriverUnavailable`, see :func:`check_walls`.
    """
    machine = await to_thread.run_sync(check_walls, options, probe)
    engine = Engine(
        name=spec.name,
        version=spec.version,
        configuration={**spec.configuration, "wasi": wasi.VERSION, "architecture": platform.machine()},
    )
    held = HeldArtifacts(options.held_bytes)
    folder = _folder(scope, engine, options)
    groups = await to_thread.run_sync(cgroups.find)
    if groups is not None:
        await to_thread.run_sync(groups.sweep)
    make_group = (lambda: None) if groups is None else groups.make
    cores = os.cpu_count() or 1
    named = (*machine.guards, *(() if groups is None else (f"cgroup:v{groups.version}",)))
    weaknesses = tuple(map(str, machine.weaknesses))
    tasks = anyio.create_task_group()
    starter = Starter(spec, partial(_walls, machine, spec), tasks)
    slots = [
        Slot(starter, make_group, options.spares, options.start_seconds, scope.log)
        for _ in range(options.slots or cores + 1)
    ]
    compiler = Compiler(
        starter,
        make_group,
        held,
        folder,
        options,
        options.compile_slots or _compile_slots(options.slots or cores),
        scope.log,
        limits_apart=spec.limits_apart,
    )
    runtime = CellRuntime(engine, spec, options, slots, tasks, starter, compiler, named, weaknesses)
    failure = None
    try:
        async with tasks:
            try:
                runtime.tend(slots[0])
                yield runtime
            except Exception as error:
                # What the caller raises leaves the block as it is and not in the task group's exception group.
                failure = error
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_CLOSE_SECONDS):
                for slot in slots:
                    await slot.close()
                await starter.end_all()
            if groups is not None:
                for path in await groups.remove():
                    scope.log.warning("the control group %s could not be removed", path)
        held.clear()
    if failure is not None:
        raise failure


def _compile_slots(runs: int) -> int:
    """Half of `runs`, each with a GiB; two of half a GiB come before that, so that a module leaves room for others."""
    memory = preparing_memory()
    return max(1, min(max(2, runs // 2), max(memory >> 30, min(2, memory >> 29))))


def _walls(machine: Machine, spec: EngineSpec, role: Role, system_calls: tuple[str, ...]) -> Walls:
    compiles = role == "compile"
    threads = compiles and spec.compile_threads
    program = seccomp.program(system_calls, compiles=compiles, threads=threads) if machine.seccomp else b""
    return Walls(machine.uid, machine.gid, machine.landlock, program, threads)


def _folder(scope: Scope, engine: Engine, options: CellOptions) -> ArtifactFolder | None:
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


class CellRuntime:
    """See :class:`plasm.ports.Runtime`; open it with :func:`open_runtime`."""

    def __init__(
        self,
        engine: Engine,
        spec: EngineSpec,
        options: CellOptions,
        slots: list[Slot],
        tasks: TaskGroup,
        starter: Starter,
        compiler: Compiler,
        guarded: tuple[str, ...],
        weaknesses: tuple[str, ...],
    ) -> None:
        self._engine = engine
        self._spec = spec
        self._options = options
        self._slots = slots
        self._tasks = tasks
        self._starter = starter
        self._compiler = compiler
        self._guards = guarded
        self._weaknesses = weaknesses
        self._at_once = anyio.Semaphore(len(slots), fast_acquire=True)
        self._free = list(reversed(slots))
        self._runs = 0

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def isolation(self) -> str:
        return self._options.isolation

    @property
    def slots(self) -> int:
        return len(self._slots)

    @property
    def compile_slots(self) -> int:
        return self._compiler.slots

    @property
    def guards(self) -> Sequence[str]:
        return self._guards

    @property
    def weaknesses(self) -> Sequence[str]:
        return self._weaknesses

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are alive."""
        return self._starter.pids

    async def prepare(self, digest: Digest, module: bytes) -> None:
        await self._compiler.prepare(digest, module)

    async def prepare_own(self, digest: Digest, module: bytes) -> None:
        await self._compiler.prepare(digest, module, own=True)

    def prepared(self, digest: Digest) -> bool:
        return self._compiler.prepared(digest)

    async def run(self, invocation: Invocation) -> Outcome:
        check(invocation, counts_fuel=self._spec.counts_fuel)
        reuse = self._options.isolation == "reused" and invocation.trusted
        module = invocation.module
        if self._spec.limits_apart and invocation.limits.fuel is not None:
            await self._compiler.prepare_limiting(module)
            module = for_limits(module)
        await self._at_once.acquire()
        place = _Place(self._take_slot(module if reuse else None), self._give_back)
        try:
            return await self._run_in(place, invocation, module, reuse)
        finally:
            place.close()

    async def _run_in(self, place: _Place, invocation: Invocation, module: Digest, reuse: bool) -> Outcome:
        artifact = await self._compiler.find(module)
        if artifact is None:
            raise KeyError(invocation.module)
        try:
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(NotBegun):
                    return await self._run_once(place, invocation, module, artifact, reuse)
        except NotLoaded as error:
            self._compiler.forget(module)
            if artifact.stored:
                raise KeyError(invocation.module) from None
            raise RuntimeFailed(f"the compiled module does not load: {error}") from None
        except ValueError as error:
            raise RuntimeFailed(str(error)) from None
        finally:
            os.close(artifact.descriptor)
        raise RuntimeFailed("processes for jobs end before a job begins in them")

    async def _run_once(
        self, place: _Place, invocation: Invocation, module: Digest, artifact: Artifact, reuse: bool
    ) -> Outcome:
        slot = place.slot
        cell = await slot.take(kept=reuse)
        seconds = self._options.start_seconds
        execution = Execution(cell, slot.group, invocation, module, artifact, seconds, reuse, place.leave)
        try:
            outcome, reusable = await execution.run()
        except BaseException:
            await cell.end()
            raise
        if reusable:
            await slot.keep(cell)
        return outcome

    def _take_slot(self, wanted: Digest | None) -> Slot:
        """A free one, the best for the job: one whose kept cell has the module, then one that stands ready."""
        self._runs += 1
        if self._runs > 1:
            # A command that runs one job needs one warm parent; a node will need them all.
            for slot in self._slots:
                self.tend(slot)
        best = max(self._free, key=lambda slot: (slot.holds(wanted) if wanted else 0, slot.ready, slot.tended))
        self._free.remove(best)
        self.tend(best)
        return best

    def _give_back(self, slot: Slot) -> None:
        self._free.append(slot)
        self._at_once.release()

    def tend(self, slot: Slot) -> None:
        """Start its warm parent, unless that was done."""
        if not slot.tended:
            slot.tended = True
            self._tasks.start_soon(slot.tend)


class _Place:
    """A run's hold on a slot, given back once: when the run is over, or when nothing is left but a cell that ends."""

    def __init__(self, slot: Slot, give_back: Callable[[Slot], None]) -> None:
        self.slot = slot
        self._give_back = give_back
        self._left = False

    def leave(self) -> None:
        """Let the next job have the slot before :meth:`close`, where that is possible."""
        if self.slot.leave():
            self._left = True
            self._give_back(self.slot)

    def close(self) -> None:
        if self._left:
            self.slot.left()
        else:
            self._give_back(self.slot)


if TYPE_CHECKING:
    _: type[Runtime] = CellRuntime
    _compiling: type[Compiling] = CellRuntime
    _guarded: type[Guarded] = CellRuntime
    _patient: type[Patient] = CellRuntime
