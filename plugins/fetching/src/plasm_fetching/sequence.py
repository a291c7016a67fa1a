"""An artifact of which only the whole digest is signed: from one source after another, from the front to the end."""

from __future__ import annotations

import contextlib
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
    for source in crew.sources:
        with _aborting(source, stop):
            try:
                if _from_one(artifact, partial, crew, source, stop, resumed):
                    return resumed
            except (DiskFull, DiskFailed):
                raise
            except FetchError as error:
                if stop.is_set():
                    raise Stopped(artifact.path) from None
                crew.give_up(source, error)
    crew.standing.save()
    raise NoSourceLeft(artifact.path, crew.reasons)


def _from_one(
    artifact: Artifact, partial: Partial, crew: Crew, source: Source, stop: threading.Event, resumed: int
) -> bool:
    """Whether `source` brought what was missing. Raises :exc:`FetchError` where it is of no use."""
    failures = 0
    while True:
        began_at = partial.length
        try:
            if began_at < artifact.size:
                _receive(artifact, partial, crew, source, stop, resumed)
        except (Unreachable, Busy) as error:
            source.renew()
            failures = failures + 1 if partial.length == began_at else 1
            if failures > crew.retries or stop.is_set():
                raise
            pause = _FIRST_PAUSE * 2 ** (failures - 1)
            crew.report(Dropped(source.origin, str(error), pause))
            stop.wait(pause)
            continue
        if partial.sha256(artifact.size).hexdigest() == artifact.sha256:
            crew.standing.save()
            return True
        partial.cut(0)
        # What it did not bring itself is not its lie: once more, from the front.
        if not began_at:
            raise Lied(f"{source.origin} sent a {artifact.path} that is not the signed one")


def _receive(
    artifact: Artifact, partial: Partial, crew: Crew, source: Source, stop: threading.Event, resumed: int
) -> None:
    offset = partial.length
    answer = source.ask(offset, artifact.size - offset)
    told = time.monotonic()
    counted = source.received

    def take(view: memoryview) -> None:
        nonlocal offset, told, counted
        if stop.is_set():
            raise Stopped(artifact.path)
        if offset + len(view) > artifact.size:
            raise Lied(f"{source.origin} sends more than there is of {artifact.path}")
        partial.write(view, offset)
        offset += len(view)
        source.brought += len(view)
        now = time.monotonic()
        if now - told >= _REPORT_SECONDS:
            rate = (source.received - counted) / (now - told)
            told, counted = now, source.received
            crew.report(Progressed(offset, artifact.size, rate, crew.by_source))

    source.read(answer, memoryview(bytearray(_BUFFER)), take)
    if offset < artifact.size:
        raise Unreachable(f"{source.origin} broke off after {offset} of {artifact.size} bytes")
    crew.report(Progressed(offset, artifact.size, source.rate or 0.0, crew.by_source))


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
