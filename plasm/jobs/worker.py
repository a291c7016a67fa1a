"""The worker: what a node does with accepted jobs, whoever brought them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import anyio
from anyio.abc import TaskStatus

from plasm.jobs.admission import Admission, OfferRejected
from plasm.jobs.execution import Executor
from plasm.jobs.journal import (
    CANCELLED,
    FAILED,
    QUEUED,
    RUNNING,
    TRANSFERRING,
    Accepted,
    Ending,
    Journal,
    JournalUnusable,
    Listed,
)
from plasm.jobs.manifest import job_id, sha256
from plasm.jobs.messages import INLINE_BYTES, Description, Offer
from plasm.jobs.queue import JobQueue, Tracked
from plasm.jobs.sweeping import ModuleSweeper
from plasm.ports import Digest, PeerId, Runtime, Signer, Store, StoreError, StoreWriter, TooLarge

_RECORD_SECONDS = 10
"""An ending is recorded even while the node is being stopped; a disk that hangs longer must not hold it."""
_SWEEP_EVERY_SECONDS = 60
_ASSUMED_JOB_SECONDS = 1
_INCOMING_BYTES = 256 * 2**20
"""Of the inputs that are being received, which are in memory until they are whole."""
_INCOMING_BYTES_OF_ONE = 64 * 2**20
"""Of one client's, unless it is a single input."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much a worker keeps and for how long."""

    slots: int
    keep_seconds: int
    kept_bytes: int
    modules_bytes: int
    transfer_seconds: int


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
        self._runtimes = runtimes
        self._stores = stores
        self._journal = journal
        self._log = log
        self._queue = JobQueue()
        self._executor = Executor(node=node, signer=signer, runtimes=runtimes, stores=stores, log=log)
        self._sweeper = ModuleSweeper(stores, bounds.modules_bytes, self._queue.modules)
        self._running = 0
        self._draining = False
        self._idle = anyio.Event()

    async def accept(self, offer: Offer, client: PeerId) -> tuple[Tracked | Ending, str, tuple[str, ...]]:
        """Accept the offer, or find the job that it repeats: what to wait for, its id, and what is still needed.

        Once this returns the job is in the journal. Raises :exc:`OfferRejected` or :exc:`JournalUnusable`.
        """
        self.admission.check_sender(client)
        runtime = self.admission.check_offer(offer)
        identity = job_id(client, offer.nonce, Digest(offer.digest))
        tracked = self._queue.get(identity)
        if tracked is None:
            ending = await self._journal.ending(identity, INLINE_BYTES)
            if ending is not None and ending.state != FAILED:
                return ending, identity, ()
            # Another stream may have brought the same offer while the journal was read.
            tracked = self._queue.get(identity)
        if tracked is None:
            tracked = await self._accept_new(offer, client, identity, runtime)
        await tracked.recorded.wait()
        if tracked.state != TRANSFERRING:
            return tracked, identity, ()
        needs = await self._needs(offer, tracked.accepted.runtime)
        if not needs:
            # What was missing has come since, with a job of someone else.
            await self.supplied(tracked, offer.stdin)
        return tracked, identity, needs

    async def _accept_new(self, offer: Offer, client: PeerId, identity: str, runtime: str) -> Tracked:
        if self._draining:
            raise OfferRejected("ShuttingDown", "this node is stopping")
        self.admission.check_load(client, self._queue.waiting, self._queue.held)
        self._check_modules(offer)
        if offer.stdin is None and offer.stdin_size:
            if self._queue.incoming_bytes() + offer.stdin_size > _INCOMING_BYTES:
                raise OfferRejected("QueueFull", "as much input as fits is on its way")
            if self._queue.incoming_bytes(client) + offer.stdin_size > max(_INCOMING_BYTES_OF_ONE, offer.stdin_size):
                raise OfferRejected("QuotaExceeded", "as much of your input as fits is on its way")
        accepted = Accepted(
            id=identity,
            client=client,
            nonce=offer.nonce,
            job=offer.job,
            digest=Digest(offer.digest),
            module_size=offer.module_size,
            stdin_size=offer.stdin_size,
            runtime=runtime,
            accepted=time.time(),
            state=TRANSFERRING,
        )
        tracked = Tracked(accepted, offer.stdin)
        # Tracked before the first wait, so that the bounds hold against a thousand offers at once.
        self._queue.track(tracked)
        try:
            whole = not await self._needs(offer, runtime)
            recorded = replace(accepted, state=QUEUED) if whole else accepted
            await self._journal.accept(recorded, offer.stdin)
        except BaseException:
            self._queue.forget(tracked)
            tracked.end(Ending(state=FAILED, detail="the job could not be recorded"))
            raise
        finally:
            tracked.recorded.set()
        if whole:
            self._queue.push(tracked)
        return tracked

    def _check_modules(self, offer: Offer) -> None:
        modules = self._queue.modules()
        module = offer.job.manifest.module_hash
        modules[module] = max(offer.module_size, modules.get(module, 0))
        # What one job alone needs is the affair of the bound on a module.
        if len(modules) > 1 and sum(modules.values()) > self.bounds.modules_bytes:
            raise OfferRejected("QueueFull", "as many modules as fit are needed by other jobs")

    async def _needs(self, offer: Offer, runtime: str) -> tuple[str, ...]:
        module = Digest(offer.job.manifest.module_hash)
        needs = []
        if not self._runtimes[runtime].prepared(module) and not await self._stored(module):
            needs.append("module")
        if offer.stdin_size and offer.stdin is None:
            needs.append("stdin")
        return tuple(needs)

    async def _stored(self, module: Digest) -> bool:
        await self._sweeper.settled(module)
        for store in self._stores:
            with contextlib.suppress(StoreError):
                if await store.has(module):
                    return True
        return False

    @contextlib.asynccontextmanager
    async def module_writer(self, offer: Offer) -> AsyncIterator[StoreWriter]:
        """Where the module of an offer is written. Raises :exc:`~plasm.ports.StoreError`."""
        for store in self._stores:
            if store.writable:
                async with store.create(Digest(offer.job.manifest.module_hash), offer.module_size) as writer:
                    yield writer
                return
        raise TooLarge("no store here can be written")

    async def supplied(self, tracked: Tracked, stdin: bytes | None) -> None:
        """All that the job needs has arrived: it is queued."""
        if tracked.state != TRANSFERRING or tracked.supplied or tracked.cancelled:
            return
        # From here on nothing takes the job back: another stream that brings the same would record it a second time.
        tracked.supplied = True
        try:
            with _recording():
                await self._journal.supplied(tracked.accepted.id, stdin)
        except JournalUnusable:
            self._give_up(tracked)
            raise
        if tracked.cancelled or tracked.ending is not None:
            return
        if stdin is not None and len(stdin) <= INLINE_BYTES:
            tracked.stdin = stdin
        self._queue.push(tracked)

    async def abandon(self, tracked: Tracked, why: str) -> None:
        """What the job needs did not arrive as it should: it has failed, and may be offered again."""
        if tracked.state == TRANSFERRING and not tracked.supplied:
            await self._end(tracked, Ending(state=FAILED, detail=why))

    async def execute(self, offer: Offer, module: bytes, stdin: bytes) -> tuple[str, Ending]:
        """Run a job of this node's own user: its id and how it ended. Cancelling stops it.

        Raises :exc:`OfferRejected`, :exc:`JournalUnusable` or :exc:`~plasm.ports.StoreError`.
        """
        if sha256(stdin) != offer.job.stdin:
            raise OfferRejected("InvalidRequest", "the input does not have the digest that the job names")
        found, identity, needs = await self.accept(offer, self.node)
        if isinstance(found, Ending):
            return identity, await self._whole(identity, found)
        try:
            if "module" in needs:
                async with self.module_writer(offer) as writer:
                    await writer.write(module)
            if needs:
                await self.supplied(found, stdin)
            while found.ending is None:
                await found.changed()
        except StoreError as error:
            await self.abandon(found, str(error))
            raise
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True), anyio.move_on_after(_RECORD_SECONDS):
                await self.cancel(identity, self.node)
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
        """Stop a job of `client` (of anyone for ``None``: the operator); false where there is none to stop."""
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
        if tracked.ending is not None:
            return tracked.ending.state == CANCELLED
        await self._end(tracked, Ending(state=CANCELLED, detail="cancelled before it ran"))
        return True

    def describe(self, software: str) -> Description:
        """What this node offers now."""
        waiting = self._queue.waiting
        return Description(
            software=software,
            arch=self.admission.arch,
            runtimes=self.admission.runtimes,
            slots=self.bounds.slots,
            free=0 if self._draining else max(0, self.bounds.slots - self._running - waiting),
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
            tracked.recorded.set()
            self._queue.track(tracked)
            if accepted.state != TRANSFERRING:
                self._queue.push(tracked)
        async with anyio.create_task_group() as tasks:
            for _ in range(self.bounds.slots):
                tasks.start_soon(self._work)
            tasks.start_soon(self._sweep_regularly)
            task_status.started()

    async def drain(self) -> None:
        """Take nothing new, start nothing more, and wait for what runs. What waits stays in the journal."""
        self._draining = True
        while self._running:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _work(self) -> None:
        while True:
            tracked = await self._queue.pop()
            if self._draining:
                await anyio.sleep_forever()
            if tracked.cancelled:
                # Whoever cancelled it is recording that.
                continue
            self._running += 1
            try:
                await self._run_one(tracked)
            except JournalUnusable as error:
                self._log.error("job %s: %s", tracked.accepted.id, error)
                self._give_up(tracked)
            finally:
                self._running -= 1
                self._idle.set()

    async def _run_one(self, tracked: Tracked) -> None:
        accepted = tracked.accepted
        tracked.move(RUNNING)
        ending = Ending(state=CANCELLED, detail="cancelled while it ran")
        with tracked.scope:
            with _recording():
                attempt = await self._journal.started(accepted.id)
            try:
                stdin = tracked.stdin
                if stdin is None:
                    stdin = await self._journal.stdin(accepted.id) if accepted.stdin_size else b""
                ending = await self._executor.execute(accepted, stdin, attempt, tracked.move)
            except anyio.get_cancelled_exc_class():
                if not tracked.scope.cancel_called:
                    with anyio.CancelScope(shield=True), anyio.move_on_after(_RECORD_SECONDS):
                        await self._journal.interrupted(accepted.id)
                raise
            except JournalUnusable:
                raise
            except Exception as error:
                # A driver that breaks fails its job and nothing else.
                self._log.error("job %s: a driver broke: %.300r", accepted.id, error)
                self._log.debug("job %s", accepted.id, exc_info=True)
                ending = Ending(state=FAILED, detail=f"a driver broke: {type(error).__name__}")
        await self._end(tracked, ending)

    async def _end(self, tracked: Tracked, ending: Ending) -> None:
        try:
            with _recording():
                await self._journal.ended(tracked.accepted.id, ending)
        except JournalUnusable:
            self._give_up(tracked)
            raise
        self._queue.forget(tracked)
        tracked.end(ending.without_much(INLINE_BYTES))

    def _give_up(self, tracked: Tracked) -> None:
        self._queue.forget(tracked)
        tracked.end(Ending(state=FAILED, detail="the node's journal cannot be written"))

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


@contextlib.contextmanager
def _recording() -> Iterator[None]:
    """What the journal is told in here it is told whole, also while the node is being stopped.

    Raises :exc:`JournalUnusable` where it takes too long.
    """
    try:
        with anyio.CancelScope(shield=True), anyio.fail_after(_RECORD_SECONDS):
            yield
    except TimeoutError:
        raise JournalUnusable("the journal does not answer") from None
