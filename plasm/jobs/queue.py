"""The queue: accepted jobs waiting for a slot, shared fairly between those who sent them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import anyio

from plasm.jobs.records import QUEUED, TRANSFERRING, Accepted, Ending
from plasm.ports import PeerId


class Tracked:
    """An accepted job that has not ended: where it is, and how to wait for it."""

    def __init__(self, accepted: Accepted, data: bytes | None = None) -> None:
        self.accepted = accepted
        self.input = data
        """The input where it is small; else it is read from the journal when it is needed."""
        self.state = accepted.state
        self.ahead = 0
        self.ending: Ending | None = None
        self.scope = anyio.CancelScope()
        """Cancelling it stops the run."""
        self.cancelled = False
        self.supplied = False
        """Whether all that it needs has arrived and is being recorded, or has been."""
        self.transfer: anyio.CancelScope | None = None
        """Of the stream that brings what the job needs: one at a time, so that one buffer is filled for it."""
        self.journaled = False
        """Whether the journal has been told of it; until then it may run, and is promised to nobody."""
        self.unrecorded = False
        """Whether the journal did not take how it ended, and says something else."""
        self.recorded = anyio.Event()
        """Set once the job is in the journal, or cannot be."""
        self._changed: anyio.Event | None = None

    def move(self, state: str, ahead: int = 0) -> None:
        """Record a change of state and wake who waits for one."""
        self.state, self.ahead = state, ahead
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def end(self, ending: Ending) -> None:
        """The job has ended."""
        self.ending = ending
        self.move(ending.state)

    async def changed(self) -> None:
        """Wait for the next change of state."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()


class JobQueue:
    """Jobs of one node that have not ended. First come first served for each client, clients in turn."""

    def __init__(self) -> None:
        self._tracked: dict[str, Tracked] = {}
        self._held: dict[PeerId, set[str]] = {}
        self._waiting: dict[PeerId, deque[Tracked]] = {}
        self._poppers: deque[anyio.Event] = deque()

    @property
    def held(self) -> dict[PeerId, set[str]]:
        """The ids of what each client has not seen the end of."""
        return self._held

    @property
    def waiting(self) -> int:
        """Jobs that run when a slot is free, and those whose transfer is not finished."""
        transferring = sum(tracked.state == TRANSFERRING for tracked in self._tracked.values())
        return transferring + self.queued

    def incoming_bytes(self, client: PeerId | None = None) -> int:
        """Of the inputs that are not all there yet, as large as their senders said; of one client or of all."""
        return sum(
            tracked.accepted.input_size
            for tracked in self._tracked.values()
            if tracked.state == TRANSFERRING
            and tracked.input is None
            and (client is None or tracked.accepted.client == client)
        )

    def get(self, job_id: str) -> Tracked | None:
        """The job, as long as it has not ended."""
        return self._tracked.get(job_id)

    def modules(self) -> dict[str, int]:
        """The modules that something here still needs, and how large they are said to be."""
        sizes: dict[str, int] = {}
        for tracked in self._tracked.values():
            module = tracked.accepted.job.manifest.module_hash
            sizes[module] = max(sizes.get(module, 0), tracked.accepted.module_size)
        return sizes

    def track(self, tracked: Tracked) -> None:
        """Hold an accepted job."""
        accepted = tracked.accepted
        self._tracked[accepted.id] = tracked
        self._held.setdefault(accepted.client, set()).add(accepted.id)

    @property
    def queued(self) -> int:
        """Jobs that have all that they need and wait for a slot."""
        return sum(len(jobs) for jobs in self._waiting.values())

    def push(self, tracked: Tracked) -> None:
        """The job has all that it needs: it waits for a slot, or goes on waiting."""
        if tracked in self._waiting.get(tracked.accepted.client, ()):
            return
        tracked.move(QUEUED, ahead=self.queued)
        self._waiting.setdefault(tracked.accepted.client, deque()).append(tracked)
        self._wake_one()

    async def pop(self) -> Tracked:
        """The next job to run."""
        while not self._waiting:
            woken = anyio.Event()
            self._poppers.append(woken)
            try:
                await woken.wait()
            except BaseException:
                if woken.is_set():
                    # What it was woken for is there for another.
                    self._wake_one()
                else:
                    self._poppers.remove(woken)
                raise
        client, jobs = next(iter(self._waiting.items()))
        tracked = jobs.popleft()
        del self._waiting[client]
        if jobs:
            self._waiting[client] = jobs
        for position, later in enumerate(self._in_turn()):
            if later.ahead != position:
                later.move(QUEUED, ahead=position)
        return tracked

    def _wake_one(self) -> None:
        if self._poppers:
            self._poppers.popleft().set()

    def forget(self, tracked: Tracked) -> None:
        """The job has ended or is given up."""
        accepted = tracked.accepted
        self._tracked.pop(accepted.id, None)
        ids = self._held.get(accepted.client)
        if ids is not None:
            ids.discard(accepted.id)
            if not ids:
                del self._held[accepted.client]
        jobs = self._waiting.get(accepted.client)
        if jobs is not None and tracked in jobs:
            jobs.remove(tracked)
            if not jobs:
                del self._waiting[accepted.client]

    def _in_turn(self) -> Iterable[Tracked]:
        rounds = max((len(jobs) for jobs in self._waiting.values()), default=0)
        queues = [list(jobs) for jobs in self._waiting.values()]
        for turn in range(rounds):
            for jobs in queues:
                if turn < len(jobs):
                    yield jobs[turn]
