"""The end of a job: in the journal first, then for whoever waits for it."""

from __future__ import annotations

import logging
from types import TracebackType

import anyio

from plasm.jobs.journal import Journal
from plasm.jobs.messages import INLINE_BYTES
from plasm.jobs.queue import JobQueue, Tracked
from plasm.jobs.records import CANCELLED, FAILED, QUEUED, Ending, JournalUnusable

RECORD_SECONDS = 10
"""An ending is recorded even while the node is being stopped; a disk that hangs longer must not hold it."""


class Recording:
    """What the journal is told in here it is told whole, also while the node is being stopped.

    Raises :exc:`JournalUnusable` where it takes too long.
    """

    # Written out, since a generator costs each job several times as much.
    def __enter__(self) -> None:
        self._scope = anyio.CancelScope(deadline=anyio.current_time() + RECORD_SECONDS, shield=True)
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        handled = self._scope.__exit__(kind, raised, trace)
        if self._scope.cancelled_caught:
            raise JournalUnusable("the journal does not answer") from None
        return handled


class Endings:
    """Ends the jobs of a queue."""

    def __init__(self, journal: Journal, queue: JobQueue, log: logging.Logger) -> None:
        self._journal = journal
        self._queue = queue
        self._log = log

    async def record(self, tracked: Tracked, ending: Ending) -> None:
        """The job has ended so. Raises :exc:`JournalUnusable`, and then it has failed.

        One that the journal was not told of before, while it knows an end under that id, has that one.
        """
        try:
            with Recording():
                if tracked.journaled:
                    await self._journal.ended(tracked.accepted.id, ending)
                else:
                    tracked.journaled = True
                    ending = await self._journal.completed(tracked.accepted, ending, INLINE_BYTES) or ending
        except JournalUnusable:
            self.give_up(tracked)
            raise
        self._end(tracked, ending)

    async def cancel(self, tracked: Tracked) -> None:
        """End a job that does not run. Raises :exc:`JournalUnusable`, and then it waits as it did before."""
        ending = Ending(state=CANCELLED, detail="cancelled before it ran")
        try:
            with Recording():
                await self._journal.ended(tracked.accepted.id, ending)
        except JournalUnusable:
            if tracked.ending is None:
                tracked.cancelled = False
                if tracked.state == QUEUED:
                    self._queue.push(tracked)
            raise
        self._end(tracked, ending)

    def give_up(self, tracked: Tracked) -> None:
        """The journal takes nothing about the job: it has failed for whoever waits."""
        tracked.unrecorded = True
        self._end(tracked, Ending(state=FAILED, detail="the node's journal cannot be written"))

    def _end(self, tracked: Tracked, ending: Ending) -> None:
        self._log.info("job %s ended: %s", tracked.accepted.id, ending.described)
        self._queue.forget(tracked)
        tracked.end(ending.without_much(INLINE_BYTES))
        tracked.recorded.set()
