"""The sources of one fetch at work, a thread to each, and those that hash and sync the whole behind them."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.events import Dropped, Event, Progressed, Report
from plasm_fetching.http import Busy, FetchError, Unreachable
from plasm_fetching.partial import DiskFailed, DiskFull, Partial, span
from plasm_fetching.pieces import PieceQueue
from plasm_fetching.source import Lied, Source
from plasm_fetching.standing import Standing

SLOW_FACTOR: Final = 10.0
"""A source that is so many times slower than another is asked for nothing while there is that other."""
_FIRST_PAUSE = 0.5
_TICK = 0.1
_REPORT_SECONDS = 0.25
_JOIN_SECONDS = 5.0
"""A thread that was aborted ends at once; one that writes to a disk that hangs must not hold the caller for ever."""
_UNKNOWN_PATIENCE = 1.0
_LEAST_PATIENCE = 0.05
_HASHED_AT_ONCE = 4 * 2**20
_SYNCED_AT_ONCE = 64 * 2**20
_RATE_WEIGHT = 0.3


class _Member:
    """A source and where it is in its work."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.piece: int | None = None
        self.began = 0.0
        self.received = 0
        """What its source had received by then."""
        self.rests_until = 0.0
        self.gone = False
        self.failures = 0

    @property
    def in_reserve(self) -> bool:
        """Whether it is asked only where there is nobody else."""
        return self.rests_until == math.inf


class Crew:
    """Use one for one fetch."""

    def __init__(self, sources: Sequence[Source], report: Report, standing: Standing, retries: int) -> None:
        self.sources = list(sources)
        self.standing = standing
        self.retries = retries
        self.reasons: list[tuple[str, str]] = []
        """Origins that were given up, and why."""
        self._report = report
        self._reporting = threading.Lock()
        self._members = [_Member(source) for source in sources]
        self._changed = threading.Condition()
        self._over = False
        self._fatal: BaseException | None = None
        self._digest: str | None = None

    @property
    def by_source(self) -> dict[str, int]:
        """Verified bytes that each source brought."""
        return {source.origin: source.brought for source in self.sources if source.brought}

    @property
    def received(self) -> int:
        """Bytes that came from all sources, whatever they were worth."""
        return sum(source.received for source in self.sources)

    def report(self, event: Event) -> None:
        """Tell the caller, one thread at a time."""
        with self._reporting:
            self._report(event)

    def give_up(self, source: Source, error: FetchError) -> None:
        """`source` is asked no more."""
        if isinstance(error, Lied):
            self.standing.note_lie(source.origin, str(error))
        self.reasons.append((source.origin, str(error)))
        self.report(Dropped(source.origin, str(error)))

    def fetch(
        self, artifact: Artifact, partial: Partial, queue: PieceQueue, stop: threading.Event, resumed: int
    ) -> str | None:
        """The SHA-256 of the whole once every piece of `queue` is in `partial`; ``None`` where that did not come about.

        Raises :exc:`~plasm_fetching.partial.DiskFull` or :exc:`~plasm_fetching.partial.DiskFailed`.
        """
        jobs: list[Callable[[], None]] = [
            *(lambda member=member: self._work(member, artifact, partial, queue) for member in self._members),
            lambda: self._hash(artifact, partial, queue),
            lambda: self._sync(partial, queue),
        ]
        threads = [threading.Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        try:
            for thread in threads:
                thread.start()
            rate = self._watch(artifact, queue, stop, resumed, threads[: len(self._members)])
        finally:
            with self._changed:
                self._over = True
                for source in self.sources:
                    source.abort()
                self._changed.notify_all()
            deadline = time.monotonic() + _JOIN_SECONDS
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, deadline - time.monotonic()))
            for source in self.sources:
                if source.rate is not None:
                    self.standing.note_rate(source.origin, source.rate)
            self.standing.save()
        if self._fatal is not None:
            raise self._fatal
        self._progress(artifact, resumed, rate)
        return self._digest

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            with self._changed:
                self._fatal = self._fatal or error
                self._changed.notify_all()

    def _watch(
        self,
        artifact: Artifact,
        queue: PieceQueue,
        stop: threading.Event,
        resumed: int,
        workers: Sequence[threading.Thread],
    ) -> float:
        """Report until it is over, one way or the other; returns the bytes per second of late."""
        rate, told, counted = 0.0, time.monotonic(), 0
        while True:
            with self._changed:
                working = any(thread.is_alive() for thread in workers)
                over = self._digest is not None or self._fatal is not None or stop.is_set()
                if not over and (working or queue.finished):
                    self._changed.wait(_TICK)
            now, received = time.monotonic(), self.received
            over = over or not (working or queue.finished)
            if over or now - told >= _REPORT_SECONDS:
                fresh = (received - counted) / max(now - told, 1e-6)
                rate = fresh if not rate else _RATE_WEIGHT * fresh + (1 - _RATE_WEIGHT) * rate
                told, counted = now, received
                if over:
                    return rate
                self._progress(artifact, resumed, rate)

    def _progress(self, artifact: Artifact, resumed: int, rate: float) -> None:
        by_source = self.by_source
        self.report(Progressed(resumed + sum(by_source.values()), artifact.size, rate, by_source))

    def _work(self, member: _Member, artifact: Artifact, partial: Partial, queue: PieceQueue) -> None:
        buffer = memoryview(bytearray(min(artifact.piece_bytes, artifact.size)))
        source = member.source
        while (number := self._next(member, artifact, queue)) is not None:
            try:
                view = source.piece(number, buffer)
                # Two that bring the same piece write the same bytes.
                partial.write(view, span(artifact, number)[0])
            except (Unreachable, Busy) as error:
                if not self._may_go_on(member, queue, number, error):
                    return
            except (DiskFull, DiskFailed):
                raise
            except FetchError as error:
                with self._changed:
                    queue.give_back(number, source)
                    member.gone = True
                    self._changed.notify_all()
                self.give_up(source, error)
                return
            else:
                if not self._arrived(member, queue, number, len(view)):
                    # It was told to let it be, a moment too late.
                    source.renew()

    def _next(self, member: _Member, artifact: Artifact, queue: PieceQueue) -> int | None:
        """The next piece for `member`, waited for; ``None`` where there will be none."""
        source = member.source
        with self._changed:
            while not (self._over or queue.finished):
                now = time.monotonic()
                if member.rests_until <= now or (member.in_reserve and not self._others(member)):
                    patience = artifact.piece_bytes / source.rate if source.rate else _UNKNOWN_PATIENCE
                    patience = max(patience, _LEAST_PATIENCE)
                    number = queue.take(source, now, patience, SLOW_FACTOR * patience)
                    if number is not None:
                        member.piece, member.began, member.received = number, now, source.received
                        return number
                self._changed.wait(_TICK)
        return None

    def _others(self, member: _Member) -> bool:
        return any(not other.gone and not other.in_reserve for other in self._members if other is not member)

    def _arrived(self, member: _Member, queue: PieceQueue, number: int, length: int) -> bool:
        """Whether the piece was not there before. Whoever else fetches it is told to let it be."""
        slow: list[Dropped] = []
        with self._changed:
            fresh = queue.is_left(number)
            losers = queue.arrived(number, member.source)
            member.piece, member.failures = None, 0
            if fresh:
                member.source.brought += length
                member.rests_until = 0.0
            for other in self._members:
                # Under the lock: it cannot have gone on to its next piece meanwhile.
                if other.source in losers and other.piece == number:
                    slow += self._judged(other)
                    other.source.abort()
            self._changed.notify_all()
        for dropped in slow:
            self.report(dropped)
        return fresh

    def _judged(self, member: _Member) -> list[Dropped]:
        """`member` was overtaken: where it is far slower than another, it is asked only where nobody else is left."""
        source = member.source
        own = (source.received - member.received) / max(time.monotonic() - member.began, 1e-6)
        fastest = max((other.source.rate or 0.0 for other in self._members if other is not member), default=0.0)
        if own * SLOW_FACTOR >= fastest:
            return []
        source.rate, member.rests_until = own, math.inf
        reason = f"{source.origin} is slow: {own / 1e6:.2f} MB/s, and another has {fastest / 1e6:.1f}"
        return [Dropped(source.origin, reason)]

    def _may_go_on(self, member: _Member, queue: PieceQueue, number: int, error: FetchError) -> bool:
        """Whether a source that failed is asked again, later."""
        source = member.source
        source.renew()
        with self._changed:
            overtaken = not queue.is_left(number)
            queue.give_back(number, source)
            member.piece = None
            if self._over or overtaken:
                return not self._over
            member.failures += 1
            member.gone = member.failures > self.retries
            pause = _FIRST_PAUSE * 2 ** (member.failures - 1)
            member.rests_until = time.monotonic() + pause
            gone = member.gone
            self._changed.notify_all()
        if gone:
            self.give_up(source, error)
        else:
            self.report(Dropped(source.origin, str(error), pause))
        return not gone

    def _hash(self, artifact: Artifact, partial: Partial, queue: PieceQueue) -> None:
        """The whole's digest, close behind the pieces as they are complete: what was written is still cached."""
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(max(1, min(_HASHED_AT_ONCE, artifact.size))))
        offset = 0
        while offset < artifact.size:
            with self._changed:
                while (ready := _ready(artifact, queue)) <= offset and not self._over:
                    self._changed.wait(_TICK)
                if self._over:
                    return
            while offset < ready and not self._over:
                count = partial.read(buffer[: min(len(buffer), ready - offset)], offset)
                if not count:
                    raise DiskFailed(f"{artifact.path}: what was written is not there any more")
                digest.update(buffer[:count])
                offset += count
        with self._changed:
            self._digest = digest.hexdigest()
            self._changed.notify_all()

    def _sync(self, partial: Partial, queue: PieceQueue) -> None:
        """Write to the disk while more is coming: what is left for the end is soon done."""
        synced = 0
        while True:
            with self._changed:
                while (there := sum(source.brought for source in self.sources)) - synced < _SYNCED_AT_ONCE:
                    if self._over or queue.finished:
                        return
                    self._changed.wait(_TICK)
            partial.sync()
            synced = there


def _ready(artifact: Artifact, queue: PieceQueue) -> int:
    """How many bytes from the front are there."""
    missing = queue.first_missing
    return artifact.size if missing is None else missing * artifact.piece_bytes
