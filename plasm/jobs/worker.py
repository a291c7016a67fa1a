"""The worker: what a node does with accepted jobs, whoever brought them."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from plasm.jobs.admission import Admission, OfferRejected
from plasm.jobs.bounds import Bounds
from plasm.jobs.endings import RECORD_SECONDS, Endings, Recording
from plasm.jobs.execution import HASHED_AT_ONCE_BYTES, MOST_ATTEMPTS, Executor, ModuleDropped
from plasm.jobs.intake import Intake
from plasm.jobs.journal import Journal
from plasm.jobs.manifest import InvalidJob
from plasm.jobs.memory import RunningMemory
from plasm.jobs.messages import INLINE_BYTES, Description, Offer
from plasm.jobs.queue import JobQueue, Tracked
from plasm.jobs.records import (
    CANCELLED,
    FAILED,
    OWN,
    RUNNING,
    TRANSFERRING,
    Accepted,
    Ending,
    JournalUnusable,
    Listed,
)
from plasm.jobs.sweeping import ModuleSweeper
from plasm.jobs.unprepared import Unprepared
from plasm.memory import memory_of
from plasm.ports import PeerId, Runtime, Signer, Store, StoreError

_SWEEP_EVERY_SECONDS = 60
_ASSUMED_JOB_SECONDS = 1
_CANCELLED = Ending(state=CANCELLED, detail="cancelled while it ran")
QUICK_COMPILE_SECONDS = 5.0
"""A module that takes longer to compile is begun anew later, where it holds up only its like.

How long one takes cannot be told from its looks. This is long for most programs, and short beside what is made to last.
"""


class Worker:
    """Accepts, queues, runs and keeps jobs. :meth:`run` does the work; the rest may be called while it runs."""

    def __init__(
        self,
        *,
        node: PeerId,
        signer: Signer,
        runtimes: Mapping[str, Runtime],
        stores: Sequence[Store],
        journal: Journal,
        admission: Admission,
        bounds: Bounds,
        log: logging.Logger,
    ) -> None:
        self.node = node
        self.admission = admission
        self.bounds = bounds
        self._journal = journal
        self._log = log
        unprepared = Unprepared(MOST_ATTEMPTS)
        self._executor = Executor(
            node=node,
            signer=signer,
            runtimes=runtimes,
            stores=stores,
            log=log,
            module_bytes=admission.module_bytes,
            unprepared=unprepared,
            trusts=admission.trusts,
        )
        self._queue = JobQueue(self._executor.is_ready, slow_slots=max(1, bounds.compile_slots - 1))
        self._endings = Endings(journal, self._queue, log)
        self._sweeper = ModuleSweeper(stores, bounds.modules_bytes, self._queue.modules)
        self.intake = Intake(
            queue=self._queue,
            journal=journal,
            endings=self._endings,
            admission=admission,
            bounds=bounds,
            runtimes=runtimes,
            stores=stores,
            sweeper=self._sweeper,
            unprepared=unprepared,
        )
        self._turns = anyio.Semaphore(bounds.slots, fast_acquire=True)
        self._short_turn = anyio.Semaphore(1, fast_acquire=True)
        self._memory = RunningMemory(bounds.memory_bytes)
        self._running = 0
        self._unrecorded = 0
        """Jobs that run, and those whose end is being recorded."""
        self._idle = anyio.Event()

    async def execute(self, offer: Offer, module: bytes, data: bytes) -> tuple[str, Ending]:
        """Run a job of this node's own user, whose input is `data`: its id and how it ended. Cancelling stops it.

        Raises :exc:`OfferRejected`, :exc:`JournalUnusable` or :exc:`~plasm.ports.StoreError`.
        """
        try:
            offer.job.check_input(data)
        except InvalidJob as error:
            raise OfferRejected("InvalidRequest", str(error)) from None
        found, identity, needs = await self.intake.accept(offer, self.node, OWN)
        if isinstance(found, Ending):
            return identity, await self._whole(identity, found)
        try:
            if "module" in needs:
                async with self.intake.module_writer(offer) as writer:
                    await writer.write(module)
            if needs:
                await self.intake.supplied(found, data)
            while found.ending is None:
                await found.changed()
        except StoreError as error:
            await self.intake.abandon(found, str(error))
            raise
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True), anyio.move_on_after(RECORD_SECONDS):
                try:
                    await self.cancel(identity, self.node)
                except JournalUnusable as error:
                    self._log.error("job %s: %s", identity, error)
            raise
        return identity, await self._whole(identity, found.ending)

    async def _whole(self, identity: str, ending: Ending) -> Ending:
        return await self.whole(identity, ending) or Ending(state=FAILED, detail="the result is kept no longer")

    async def listed(self) -> list[Listed]:
        """The newest jobs of the journal, newest first."""
        return await self._journal.listed()

    async def find(self, identity: str, client: PeerId) -> Tracked | Ending | None:
        """A job of `client`: what to wait for, how it ended without much output (see :meth:`whole`), or ``None``."""
        tracked = self._queue.get(identity)
        if tracked is not None:
            return tracked if tracked.accepted.client == client else None
        # What nobody asked for here costs no query.
        if not self._journal.knows(identity) or await self._journal.client(identity) != client:
            return None
        return await self._journal.ending(identity, INLINE_BYTES)

    async def whole(self, identity: str, ending: Ending) -> Ending | None:
        """The ending with the output that was left out of it; ``None`` where it is kept no longer."""
        return await self._journal.ending(identity) if ending.left_out else ending

    async def cancel(self, identity: str, client: PeerId | None) -> bool:
        """Stop a job of `client` (of anyone for ``None``: the operator); false where there is none to stop.

        Raises :exc:`JournalUnusable` where that cannot be recorded: a job that waited waits on, one that ran has
        stopped and runs again in the next life of the node.
        """
        tracked = self._queue.get(identity)
        if tracked is None or (client is not None and tracked.accepted.client != client):
            return False
        tracked.cancelled = True
        # Ended before it is in the journal, it would stand there as waiting, and run in the next life of the node.
        await tracked.recorded.wait()
        if tracked.state == RUNNING or tracked.state == "compiling":
            tracked.stop()
            while tracked.ending is None:
                await tracked.changed()
        if tracked.unrecorded:
            raise JournalUnusable("how the job ended cannot be recorded")
        if tracked.ending is not None:
            return tracked.ending.state == CANCELLED
        await self._endings.cancel(tracked)
        return True

    def describe(self, software: str) -> Description:
        """What this node offers now."""
        waiting = self._queue.waiting
        return Description(
            software=software,
            arch=self.admission.arch,
            runtimes=self.admission.runtimes,
            slots=self.bounds.slots,
            free=0 if self.intake.closed else max(0, self.bounds.slots - self._running - waiting),
            queued=waiting,
            memory_mb=self.admission.memory_mb,
            max_timeout_seconds=self.admission.timeout_seconds,
        )

    def estimated_start(self, tracked: Tracked | Ending) -> int:
        """Seconds until the job may start: a guess from what is ahead of it."""
        if isinstance(tracked, Ending) or not tracked.ahead:
            return 0
        return tracked.ahead * _ASSUMED_JOB_SECONDS // self.bounds.slots

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Work until cancelled; ``started()`` once what an earlier life left unfinished is queued again."""
        for accepted in await self._journal.unfinished():
            tracked = Tracked(accepted)
            tracked.journaled = True
            tracked.recorded.set()
            self._queue.track(tracked)
            if accepted.job.digest() != accepted.digest:
                # Run all the same, it would be another job that the receipt speaks of.
                await self._endings.record(tracked, _damaged("the job"))
            elif accepted.state != TRANSFERRING:
                self._queue.push(tracked)
        async with anyio.create_task_group() as tasks:
            # While the end of a job is being recorded its slot has the next one.
            for _ in range(2 * self.bounds.slots):
                tasks.start_soon(self._work, self._turns, self._queue.pop)
            for _ in range(2):
                tasks.start_soon(self._work, self._short_turn, self._queue.pop_short)
            for _ in range(self.bounds.compile_slots):
                tasks.start_soon(self._compile)
            tasks.start_soon(self._sweep_regularly)
            task_status.started()

    async def drain(self) -> None:
        """Take nothing new, start nothing more, and wait for what runs. What waits stays in the journal."""
        self.intake.closed = True
        while self._unrecorded:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _work(self, turns: anyio.Semaphore, pop: Callable[[], Awaitable[Tracked]]) -> None:
        while True:
            await turns.acquire()
            tracked = await pop()
            if self.intake.closed:
                await anyio.sleep_forever()
            if tracked.cancelled:
                # Whoever cancelled it is recording that.
                self._queue.skipped(tracked)
                turns.release()
                continue
            with self._recording(tracked):
                ending = await self._in_turn(tracked, turns)
                if ending is not None:
                    await self._record(tracked, ending)

    async def _compile(self) -> None:
        """Compile modules, one after another; what needs that holds no run slot meanwhile."""
        while True:
            tracked = await self._queue.pop_uncompiled()
            if self.intake.closed:
                await anyio.sleep_forever()
            try:
                ending, gives_way = None, False
                if not tracked.cancelled:
                    ending, gives_way = await self._prepare_one(tracked)
                if ending is not None:
                    with self._recording(tracked):
                        await self._record(tracked, ending)
                elif not tracked.cancelled:
                    self._queue.push(tracked, ready=not gives_way)
            except JournalUnusable as error:
                self._give_up(tracked, error)
            finally:
                self._queue.compiled(tracked)

    @contextlib.contextmanager
    def _recording(self, tracked: Tracked) -> Iterator[None]:
        """A node that stops waits for what is done in here; where the journal cannot be used the job has failed."""
        self._unrecorded += 1
        try:
            yield
        except JournalUnusable as error:
            self._give_up(tracked, error)
        finally:
            self._unrecorded -= 1
            self._idle.set()

    def _give_up(self, tracked: Tracked, error: JournalUnusable) -> None:
        self._log.error("job %s: %s", tracked.accepted.id, error)
        if tracked.ending is None:
            self._endings.give_up(tracked)

    async def _record(self, tracked: Tracked, ending: Ending) -> None:
        # It may have been dropped meanwhile: what ends twice ended as it did first.
        if tracked.ending is None:
            await self._endings.record(tracked, ending)

    async def _in_turn(self, tracked: Tracked, turns: anyio.Semaphore) -> Ending | None:
        self._running += 1
        began = anyio.current_time()
        try:
            return await self._run_one(tracked)
        finally:
            self._queue.ran(tracked, anyio.current_time() - began)
            self._running -= 1
            turns.release()

    async def _run_one(self, tracked: Tracked) -> Ending | None:
        """Run the job; ``None`` where its module has to be compiled again first, for which it waits now."""
        accepted = tracked.accepted

        async def run(attempt: int) -> Ending | None:
            data = tracked.input
            if data is None:
                try:
                    data = await self._kept_input(accepted)
                except InvalidJob:
                    return _damaged("its input")
            try:
                async with self._memory.held(memory_of(accepted.job.manifest.limits())):
                    return await self._executor.execute(accepted, data, attempt)
            except ModuleDropped:
                if tracked.dropped:
                    return Ending(state=FAILED, detail="the compiled module was dropped before it could run")
                tracked.dropped = True
                return None

        ending = await self._stoppable(tracked, RUNNING, run)
        if ending is None:
            self._queue.push(tracked, ready=False)
        return ending

    async def _kept_input(self, accepted: Accepted) -> bytes:
        """The input as the journal has it. Raises :exc:`InvalidJob` where it is not the one that came.

        What a disk changed would else be run, and the result signed as that of the job.
        """
        if not accepted.input_size:
            return b""
        data = await self._journal.input(accepted.id)
        check = functools.partial(accepted.job.check_input, data)
        await anyio.to_thread.run_sync(check) if len(data) > HASHED_AT_ONCE_BYTES else check()
        return data

    async def _prepare_one(self, tracked: Tracked) -> tuple[Ending | None, bool]:
        """Compile the module of the job: how it ends, if it does, and else whether it gives way to quicker ones."""
        patience = anyio.CancelScope()

        async def prepare(attempt: int) -> Ending | None:
            if not self._queue.is_slow(tracked):
                patience.deadline = anyio.current_time() + QUICK_COMPILE_SECONDS
            with patience:
                return await self._executor.prepare(tracked.accepted, attempt)
            self._queue.give_way(tracked)
            return None

        ending = await self._stoppable(tracked, "compiling", prepare)
        return ending, patience.cancelled_caught

    async def _stoppable(
        self, tracked: Tracked, state: str, do: Callable[[int], Awaitable[Ending | None]]
    ) -> Ending | None:
        """Do something for a job: one of its attempts if the node dies of it, and none if ``None`` comes of it.

        :meth:`Tracked.stop` ends it.
        """
        accepted = tracked.accepted
        tracked.move(state)
        ending: Ending | None = _CANCELLED
        with anyio.CancelScope() as scope:
            tracked.scope = scope
            attempt = 1
            if tracked.journaled:
                with Recording():
                    attempt = await self._journal.started(accepted.id)
            try:
                ending = await do(attempt)
            except anyio.get_cancelled_exc_class():
                if tracked.journaled and not scope.cancel_called:
                    with anyio.CancelScope(shield=True), anyio.move_on_after(RECORD_SECONDS):
                        await self._journal.interrupted(accepted.id)
                raise
            except JournalUnusable:
                raise
            except Exception as error:
                # A driver that breaks fails its job and nothing else.
                self._log.error("job %s: a driver broke: %.300r", accepted.id, error)
                self._log.debug("job %s", accepted.id, exc_info=True)
                ending = Ending(state=FAILED, detail=f"a driver broke: {type(error).__name__}")
            if ending is None and tracked.journaled:
                with Recording():
                    await self._journal.interrupted(accepted.id)
        # Cancelled at the last moment it waits for nothing more either.
        return _CANCELLED if ending is None and tracked.cancelled else ending

    async def _sweep_regularly(self) -> None:
        while True:
            try:
                await self.sweep()
            except (JournalUnusable, StoreError) as error:
                self._log.error("sweeping: %s", error)
            except Exception as error:
                # A store that breaks is swept again later, and ends nothing else.
                self._log.error("sweeping: a driver broke: %.300r", error)
                self._log.debug("sweeping", exc_info=True)
            await anyio.sleep(_SWEEP_EVERY_SECONDS)

    async def sweep(self) -> None:
        """Forget what nobody was promised any longer, and the modules used longest ago above the bound."""
        overdue = anyio.current_time() - self.bounds.transfer_seconds
        for tracked in self._queue.transferring():
            if tracked.since < overdue:
                await self.intake.abandon(tracked, "its transfer was not finished in time")
        await self._journal.sweep(self.bounds.keep_seconds)
        await self._sweeper.sweep()


def _damaged(what: str) -> Ending:
    return Ending(
        state=FAILED, detail=f"{what} is not what was accepted, as after a fault of the disk: have it run again"
    )
