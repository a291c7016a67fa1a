"""An artifact of which only the whole digest is signed: from one source after another, from the front to the end."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator

from plasm_fetching.artifact import Artifact
from plasm_fetching.crew import Crew
from plasm_fetching.events import Dropped, Progressed, Resumed
from plasm_fetching.failures import NoSourceLeft, Stopped
from plasm_fetching.http import Busy, FetchError, Unreachable
from plasm_fetching.partial import DiskFailed, DiskFull, Partial
from plasm_fetching.source import Lied, Source

_BUFFER = 1024 * 1024
_FIRST_PAUSE = 0.5
_TICK = 0.1
_REPORT_SECONDS = 0.25


def fetch_in_sequence(artifact: Artifact, partial: Partial, crew: Crew, stop: threading.Event) -> int:
    """Have the whole in `partial`; how many bytes of it were there before.

    Raises :exc:`~plasm_fetching.failures.NoSourceLeft`, :exc:`~plasm_fetching.failures.Stopped`,
    :exc:`~plasm_fetching.partial.DiskFull` or :exc:`~plasm_fetching.partial.DiskFailed`.
    """
    resumed = min(partial.length, artifact.size)
    partial.reserve()
    partial.cut(resumed)
    if resumed:
        crew.report(Resumed(resumed))
    sequence = _Sequence(artifact, partial, crew, stop, resumed)
    if stop.is_set():
        raise Stopped(artifact.path)
    for source in crew.sources:
        with _aborting(source, stop):
            try:
                sequence.finish(source)
                return resumed
            except (DiskFull, DiskFailed):
                raise
            except FetchError as error:
                if stop.is_set():
                    raise Stopped(artifact.path) from None
                crew.give_up(source, error)
            finally:
                crew.standing.save()
    raise NoSourceLeft(artifact.path, crew.reasons)


class _Sequence:
    """How far it is: the bytes that are there, all of them hashed."""

    def __init__(self, artifact: Artifact, partial: Partial, crew: Crew, stop: threading.Event, resumed: int) -> None:
        self._artifact = artifact
        self._partial = partial
        self._crew = crew
        self._stop = stop
        self._buffer = memoryview(bytearray(min(_BUFFER, artifact.size)))
        self._offset = resumed
        self._digest = partial.sha256(resumed, stop)

    def finish(self, source: Source) -> None:
        """Have `source` bring what is missing. Raises :exc:`FetchError` where it is of no use."""
        failures = 0
        while True:
            began_at = self._offset
            try:
                if began_at < self._artifact.size:
                    self._receive(source)
            except (Unreachable, Busy) as error:
                source.renew()
                failures = failures + 1 if self._offset == began_at else 1
                if failures > self._crew.retries or self._stop.is_set():
                    raise
                pause = _FIRST_PAUSE * 2 ** (failures - 1)
                self._crew.report(Dropped(source.origin, str(error), pause))
                self._stop.wait(pause)
                continue
            if self._digest.hexdigest() == self._artifact.sha256:
                return
            self._partial.cut(0)
            self._offset, self._digest = 0, hashlib.sha256()
            # What it did not bring itself is not its lie: once more, from the front.
            if not began_at:
                raise Lied(f"{source.origin} sent a {self._artifact.path} that is not the signed one")

    def _receive(self, source: Source) -> None:
        size = self._artifact.size
        answer = source.ask(self._offset, size - self._offset)
        told, counted = time.monotonic(), source.received

        def take(view: memoryview) -> None:
            nonlocal told, counted
            if self._stop.is_set():
                raise Stopped(self._artifact.path)
            self._partial.write(view, self._offset)
            self._digest.update(view)
            self._offset += len(view)
            source.brought += len(view)
            now = time.monotonic()
            if now - told >= _REPORT_SECONDS:
                rate = (source.received - counted) / (now - told)
                told, counted = now, source.received
                self._crew.report(Progressed(self._offset, size, rate, self._crew.by_source))

        source.read(answer, self._buffer, take)
        if self._offset < size:
            raise Unreachable(f"{source.origin} broke off after {self._offset} of {size} bytes")
        self._crew.report(Progressed(self._offset, size, source.rate or 0.0, self._crew.by_source))


@contextlib.contextmanager
def _aborting(source: Source, stop: threading.Event) -> Iterator[None]:
    """What waits on `source` ends when `stop` is set."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_TICK):
            if stop.is_set():
                source.abort()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        source.close()
