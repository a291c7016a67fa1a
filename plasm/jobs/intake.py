"""Taking jobs in: what is offered, what it still needs, and how that arrives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import anyio

from plasm.jobs.admission import Admission, OfferRejected
from plasm.jobs.bounds import Bounds
from plasm.jobs.endings import Endings, Recording
from plasm.jobs.journal import Journal
from plasm.jobs.manifest import job_id
from plasm.jobs.messages import INLINE_BYTES, Offer
from plasm.jobs.queue import JobQueue, Tracked, counted
from plasm.jobs.records import FAILED, OWN, QUEUED, RUNNING, TRANSFERRING, Accepted, Ending, JournalUnusable
from plasm.jobs.sweeping import ModuleSweeper
from plasm.jobs.unprepared import Unprepared
from plasm.ports import Digest, PeerId, Runtime, Store, StoreError, StoreWriter, TooLarge
from plasm.shares import Origin, has_room

AT_ONCE_SECONDS = 0.02
"""A job that ends within this is written to the journal once, with its end, and answered in one message."""
_INCOMING_BYTES = 256 * 2**20
"""Of the inputs that are being received, which are in memory until they are whole."""
_UNSHARED_PART = 4
"""The first quarter of each bound in bytes anyone may take; networks share evenly what is promised beyond that."""


class Intake:
    """Puts the jobs of clients, once they are accepted and whole, into a queue."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        journal: Journal,
        endings: Endings,
        admission: Admission,
        bounds: Bounds,
        runtimes: Mapping[str, Runtime],
        stores: Sequence[Store],
        sweeper: ModuleSweeper,
        unprepared: Unprepared,
    ) -> None:
        self._queue = queue
        self._journal = journal
        self._endings = endings
        self._admission = admission
        self._bounds = bounds
        self._runtimes = runtimes
        self._stores = stores
        self._sweeper = sweeper
        self._unprepared = unprepared
        self.closed = False
        """Whether nothing new is taken any longer."""

    async def accept(
        self, offer: Offer, client: PeerId, origin: Origin
    ) -> tuple[Tracked | Ending, str, tuple[str, ...]]:
        """Accept the offer, or find the job that it repeats: what to wait for, its id, and what is still needed.

        `origin` is where `client` is connected from, or :data:`~plasm.jobs.records.OWN`.

        Once this returns the job is in the journal. Raises :exc:`OfferRejected` or :exc:`JournalUnusable`.
        """
        self._admission.check_sender(client)
        runtime = self._admission.check_offer(offer)
        identity = job_id(client, offer.nonce, Digest(offer.digest))
        tracked = self._queue.get(identity)
        if tracked is None:
            try:
                tracked = await self._accept_new(offer, client, origin, identity, runtime)
            except OfferRejected:
                # What ended is answered all the same, however much waits here.
                ending = await self._journal.ending(identity, INLINE_BYTES)
                if ending is None or ending.state == FAILED:
                    raise
                return ending, identity, ()
        if not tracked.recorded.is_set():
            await tracked.recorded.wait()
        if tracked.state != TRANSFERRING:
            return tracked, identity, ()
        needs = await self._needs(offer, tracked.accepted.runtime)
        if not needs:
            # What was missing has come since, with a job of someone else.
            await self.supplied(tracked, offer.input)
        return tracked, identity, needs

    async def _accept_new(self, offer: Offer, client: PeerId, origin: Origin, identity: str, runtime: str) -> Tracked:
        if self.closed:
            raise OfferRejected("ShuttingDown", "this node is stopping")
        self._admission.check_load(client, origin, self._queue.places, self._queue.held)
        module = Digest(offer.job.manifest.module_hash)
        if (why := self._unprepared.rejects(runtime, module)) is not None:
            raise OfferRejected("ModuleNotPrepared", why)
        if origin is not OWN:
            self._check_room(offer, origin)
        accepted = Accepted(
            id=identity,
            client=client,
            origin=origin,
            nonce=offer.nonce,
            job=offer.job,
            digest=Digest(offer.digest),
            module_size=offer.module_size,
            input_size=offer.input_size,
            runtime=runtime,
            accepted=time.time(),
            state=TRANSFERRING,
        )
        tracked = Tracked(accepted, offer.input)
        # Tracked before the first wait, so that the bounds hold against a thousand offers at once.
        self._queue.track(tracked)
        try:
            needs = await self._needs(offer, runtime)
            if "module" in needs and offer.by_digest:
                raise OfferRejected("ModuleNotFound", "no store here has the module, and it does not come with the job")
            if needs:
                await self._record(tracked, accepted)
            elif self._may_run_first(accepted):
                await self._run_first(tracked)
            else:
                await self._record(tracked, replace(accepted, state=QUEUED))
                if tracked.ending is None:
                    self._queue.push(tracked)
        except BaseException:
            self._drop(tracked, Ending(state=FAILED, detail="the job could not be recorded"))
            raise
        finally:
            tracked.recorded.set()
        return tracked

    def _may_run_first(self, accepted: Accepted) -> bool:
        return (
            self._queue.ready < self._bounds.slots
            and self._runtimes[accepted.runtime].prepared(Digest(accepted.job.manifest.module_hash))
            and not self._journal.knows(accepted.id)
        )

    async def _run_first(self, tracked: Tracked) -> None:
        """Have the job run, and record it when it has ended or takes long: nobody is promised anything until then."""
        self._queue.push(tracked, ready=True)
        with anyio.move_on_after(AT_ONCE_SECONDS):
            await tracked.recorded.wait()
        if not tracked.journaled:
            waits = tracked.state == QUEUED
            state, attempts = (QUEUED, 0) if waits else (RUNNING, 1)
            await self._record(tracked, replace(tracked.accepted, state=state, attempts=attempts))
        elif not tracked.recorded.is_set():
            await tracked.recorded.wait()
        if tracked.unrecorded:
            raise JournalUnusable("how the job ended cannot be recorded")

    async def _record(self, tracked: Tracked, accepted: Accepted) -> None:
        tracked.journaled = True
        ending = await self._journal.accept(accepted, tracked.input, INLINE_BYTES)
        if ending is not None:
            self._drop(tracked, ending)

    def _drop(self, tracked: Tracked, ending: Ending) -> None:
        """Nothing comes of the job but `ending`; if it runs it stops."""
        self._queue.forget(tracked)
        tracked.end(ending)
        tracked.stop()

    def _check_room(self, offer: Offer, origin: Origin) -> None:
        queue = self._queue
        # What one module needs beyond what another job has claimed for it already.
        module = max(0, counted(offer.module_size) - queue.module_bytes_of(offer.job.manifest.module_hash))
        incoming = offer.input_size if offer.input is None else 0
        for held, amount, ceiling, what in (
            (queue.module_bytes, module, self._bounds.modules_bytes, "modules are needed by other jobs"),
            (queue.input_bytes, counted(offer.input_size), self._bounds.input_bytes, "input are kept for other jobs"),
            (queue.incoming_bytes, incoming, _INCOMING_BYTES, "input are on their way"),
        ):
            if amount and not has_room(held, origin, amount, most=ceiling // _UNSHARED_PART, ceiling=ceiling):
                raise OfferRejected(
                    "QueueFull", f"{held.total} bytes of {what}, and your network has its share of them"
                )

    async def _needs(self, offer: Offer, runtime: str) -> tuple[str, ...]:
        module = Digest(offer.job.manifest.module_hash)
        needs = []
        if not self._runtimes[runtime].prepared(module) and not await self._stored(module, offer.by_digest):
            needs.append("module")
        if offer.input_size and offer.input is None:
            needs.append("input")
        return tuple(needs)

    async def _stored(self, module: Digest, anywhere: bool) -> bool:
        await self._sweeper.settled(module)
        for store in self._stores:
            # What cannot be written may be on the network: the client is nearer, if it has the module.
            if anywhere or store.writable:
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

    async def supplied(self, tracked: Tracked, data: bytes | None) -> None:
        """All that the job needs has arrived, its input as `data` where that was missing: it is queued."""
        if tracked.state != TRANSFERRING or tracked.supplied or tracked.cancelled:
            return
        # From here on nothing takes the job back: another stream that brings the same would record it a second time.
        tracked.supplied = True
        try:
            with Recording():
                await self._journal.supplied(tracked.accepted.id, data)
        except JournalUnusable:
            self._endings.give_up(tracked)
            raise
        if tracked.ending is not None:
            return
        if data is not None and len(data) <= INLINE_BYTES:
            tracked.input = data
        if tracked.cancelled:
            # Whoever cancels it ends it, or has it wait after all.
            tracked.move(QUEUED)
        else:
            self._queue.push(tracked)

    async def abandon(self, tracked: Tracked, why: str) -> None:
        """What the job needs did not arrive as it should: it has failed, and may be offered again."""
        if tracked.state == TRANSFERRING and not tracked.supplied:
            await self._endings.record(tracked, Ending(state=FAILED, detail=why))
