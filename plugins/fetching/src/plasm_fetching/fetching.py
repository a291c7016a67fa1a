"""One artifact from many providers at once: each pulls its next piece, and nothing counts before it is verified."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.connecting import Allows
from plasm_fetching.crew import Crew
from plasm_fetching.events import Dropped, Progressed, Report, Resumed
from plasm_fetching.failures import Contradiction, NoSourceLeft, Stopped
from plasm_fetching.http import InvalidUrl
from plasm_fetching.partial import MOST_PIECE_BYTES, DiskFailed, Partial, digest_of, open_partial, settled
from plasm_fetching.pieces import PieceQueue
from plasm_fetching.sequence import fetch_in_sequence
from plasm_fetching.source import STALL_SECONDS, Source
from plasm_fetching.standing import Standing

MOST_SOURCES: Final = 16
"""As many are asked at once; each takes the memory of one piece."""
MOST_PIECES: Final = 2**20


@dataclass(frozen=True)
class Fetched:
    """What it took to have the artifact where it stands now."""

    target: Path
    size: int
    resumed: int
    """Bytes that were there from an earlier attempt; all of them where nothing was left to do."""
    by_source: dict[str, int]
    """Verified bytes that each source brought, by its origin."""
    received: int
    """Bytes that came in all, those that were of no use included."""
    seconds: float


def ignore(event: object) -> None:
    """A report that nobody reads."""


def fetch(
    artifact: Artifact,
    sources: Sequence[str],
    target: Path,
    *,
    report: Report = ignore,
    stop: threading.Event | None = None,
    standing: Standing | None = None,
    allows: Allows | None = None,
    retries: int = 3,
    stall_seconds: float = STALL_SECONDS,
) -> Fetched:
    """Have `artifact` at `target`, from `sources`: its URLs at providers, of which none needs to be honest.

    `target` appears whole and verified, or not at all. What an earlier attempt left beside it is checked and used. A
    source that fails is tried again `retries` times, with growing pauses; one that lies is not, which `standing`
    remembers. `report` is called from several threads, one at a time. `stop` ends it soon.

    Raises :exc:`~plasm_fetching.failures.NoSourceLeft`, :exc:`~plasm_fetching.failures.Stopped`,
    :exc:`~plasm_fetching.failures.Contradiction`, :exc:`~plasm_fetching.partial.DiskFull`,
    :exc:`~plasm_fetching.partial.DiskFailed` or :exc:`~plasm_fetching.partial.AlreadyFetching`, all of them
    :exc:`~plasm_fetching.http.FetchError`; :exc:`ValueError` for an artifact whose facts cannot be.
    """
    _check(artifact)
    began = time.monotonic()
    stop = stop or threading.Event()
    standing = standing or Standing()
    with open_partial(artifact, target) as partial:
        if _is_there(artifact, target, stop):
            partial.discard()
            report(Progressed(artifact.size, artifact.size, 0.0, {}))
            return Fetched(target, artifact.size, artifact.size, {}, 0, time.monotonic() - began)
        crew = Crew(_sources(artifact, sources, standing, report, allows, stall_seconds), report, standing, retries)
        try:
            resumed = _fetch_pieces(artifact, partial, crew, stop)
        except BaseException:
            if partial.is_empty:
                partial.discard()
            raise
        partial.publish()
    return Fetched(
        target=target,
        size=artifact.size,
        resumed=resumed,
        by_source=crew.by_source,
        received=crew.received,
        seconds=time.monotonic() - began,
    )


def _fetch_pieces(artifact: Artifact, partial: Partial, crew: Crew, stop: threading.Event) -> int:
    """Bytes that were there before."""
    if stop.is_set():
        raise Stopped(artifact.path)
    if artifact.size and not artifact.pieces:
        return fetch_in_sequence(artifact, partial, crew, stop)
    whole = partial.whole_pieces(stop) if partial.length else set()
    if stop.is_set():
        raise Stopped(artifact.path)
    if not whole:
        partial.cut(0)
    partial.reserve()
    resumed = sum(min(artifact.piece_bytes, artifact.size - number * artifact.piece_bytes) for number in whole)
    if resumed:
        crew.report(Resumed(resumed))
    queue = PieceQueue(len(artifact.pieces), whole)
    digest = crew.fetch(artifact, partial, queue, stop, resumed)
    if digest is None:
        if stop.is_set():
            raise Stopped(artifact.path)
        raise NoSourceLeft(artifact.path, crew.reasons)
    if digest != artifact.sha256:
        partial.discard()
        raise Contradiction(f"the pieces of {artifact.path} are as they were signed, and the whole is not")
    return resumed


def _sources(
    artifact: Artifact,
    urls: Sequence[str],
    standing: Standing,
    report: Report,
    allows: Allows | None,
    stall: float,
) -> list[Source]:
    """The sources of `urls`, the fastest first, without those that are known to lie."""
    made: dict[str, Source] = {}
    for url in dict.fromkeys(urls):
        try:
            source = Source(url, artifact, allows=allows, stall=stall)
        except InvalidUrl as error:
            report(Dropped(url[:200], str(error)))
            continue
        if (lie := standing.lied(source.origin)) is not None:
            report(Dropped(source.origin, f"it lied before: {lie}"))
            continue
        made.setdefault(source.origin, source)
    return [made[origin] for origin in standing.ranked(list(made))[:MOST_SOURCES]]


def _check(artifact: Artifact) -> None:
    if artifact.size < 0 or not 0 < artifact.piece_bytes <= MOST_PIECE_BYTES:
        raise ValueError(f"{artifact.path}: sizes that cannot be")
    expected = -(-artifact.size // artifact.piece_bytes)
    if artifact.pieces and (len(artifact.pieces) != expected or expected > MOST_PIECES):
        raise ValueError(f"{artifact.path}: {len(artifact.pieces)} pieces are signed where there are {expected}")


def _is_there(artifact: Artifact, target: Path, stop: threading.Event) -> bool:
    """Whether the artifact stands there already, whole."""
    try:
        with open(settled(target), "rb", opener=_without_following) as file:
            if os.fstat(file.fileno()).st_size != artifact.size:
                return False
            return digest_of(file.fileno(), artifact.size, stop).hexdigest() == artifact.sha256
    except (OSError, DiskFailed):
        return False


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
