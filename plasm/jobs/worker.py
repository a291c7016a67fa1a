"""The worker: what a node does with accepted jobs, whoever brought them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import anyio
from anyio.abc import TaskStatus

from plasm.jobs.admission import Admission, OfferRejected
from plasm.jobs.bounds import Bounds
from plasm.jobs.endings import RECORD_SECONDS, Endings, recording
from plasm.jobs.execution import Executor
from plasm.jobs.intake import Intake
from plasm.jobs.journal import Journal
from plasm.jobs.manifest import InvalidJob
from plasm.jobs.memory import RunningMemory
from plasm.jobs.messages import INLINE_BYTES, Description, Offer
from plasm.jobs.queue import JobQueue, Tracked
from plasm.jobs.records import (
    CANCELLED,
    FAILED,
    RUNNING,
    TRANSFERRING,
    Ending,
    JournalUnusable,
    Listed,
)
from plasm.jobs.sweeping import ModuleSweeper
from plasm.memory import memory_of
from plasm.ports import PeerId, Runtime, Signer, Store, StoreError

_SWEEP_EVERY_SECONDS = 60
_ASSUMED_JOB_SECONDS = 1


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
        self._queue = JobQueue()
        self._executor = Executor(
            node=node,
            signer=signer,
            runtimes=runtimes,
            stores=stores,
            log=log,
            module_bytes=admission.module_bytes,
            trusts=admission.trusts,
        )
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
        )
        self._turns = anyio.Semaphore(bounds.slots, fast_acquire=True)
        self._memory = RunningMemory(bounds.memory_bytes)
        self._running = 0
        self._unrecorded = 0
        """Jobs that run, and with them those whose end is being recorded."""
        self._idle = anyio.Event()

    async def execute(self, offer: Offer, module: bytes, data: bytes) -> tuple[str, Ending]:
        """Run a job of this node's own user, whose input is `data`: its id and how it ended. Cancelling stops it.

        Raises :exc:`OfferRejected`, :exc:`JournalUnusable` or :exc:`~plasm.ports.StoreError`.
        """
        try:
            offer.job.check_input(data)
        except InvalidJob as error:
            raise OfferRejected("InvalidRequest", str(error)) from None
        found, identity, needs = await self.intake.accept(offer, self.node)
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
        if await self._journal.client(identity) != client:
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
            tracked.scope.cancel()
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
            if accepted.state != TRANSFERRING:
                self._queue.push(tracked)
        async with anyio.create_task_group() as tasks:
            # While the end of a job is being recorded its slot has the next one.
            for _ in range(2 * self.bounds.slots):
                tasks.start_soon(self._work)
            tasks.start_soon(self._sweep_regularly)
            task_status.started()

    async def drain(self) -> None:
        """Take nothing new, start nothing more, and wait for what runs. What waits stays in the journal."""
        self.intake.closed = True
        while self._unrecorded:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _work(self) -> None:
        while True:
            await self._turns.acquire()
            tracked = await self._queue.pop()
            if self.intake.closed:
                await anyio.sleep_forever()
            if tracked.cancelled:
                # Whoever cancelled it is recording that.
                self._turns.release()
                continue
            self._unrecorded += 1
            try:
                ending = await self._in_turn(tracked)
                # It may have been dropped meanwhile: what ends twice ended as it did first.
                if tracked.ending is None:
                    await self._endings.record(tracked, ending)
            except JournalUnusable as error:
                self._log.error("job %s: %s", tracked.accepted.id, error)
                self._endings.give_up(tracked)
            finally:
                self._unrecorded -= 1
                self._idle.set()

    async def _in_turn(self, tracked: Tracked) -> Ending:
        self._running += 1
        try:
            return await self._run_one(tracked)
        finally:
            self._running -= 1
            self._turns.release()

    async def _run_one(self, tracked: Tracked) -> Ending:
        accepted = tracked.accepted
        tracked.move(RUNNING)
        ending = Ending(state=CANCELLED, detail="cancelled while it ran")
        with tracked.scope:
            attempt = 1
            if tracked.journaled:
                with recording():
                    attempt = await self._journal.started(accepted.id)
            try:
                data = tracked.input
                if data is None:
                    data = await self._journal.input(accepted.id) if accepted.input_size else b""
                async with self._memory.held(memory_of(accepted.job.manifest.limits())):
                    ending = await self._executor.execute(accepted, data, attempt, tracked.move)
            except anyio.get_cancelled_exc_class():
                if tracked.journaled and not tracked.scope.cancel_called:
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
        return ending

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
        for identity in await self._journal.sweep(
            keep_seconds=self.bounds.keep_seconds,
            max_held_bytes=self.bounds.kept_bytes,
            transfer_seconds=self.bounds.transfer_seconds,
        ):
            tracked = self._queue.get(identity)
            if tracked is not None:
                self._queue.forget(tracked)
                tracked.end(Ending(state=FAILED, detail="its transfer was not finished in time"))
        await self._sweeper.sweep()
