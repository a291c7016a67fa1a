"""Artifacts one after the other, each from all providers at once, until they are there or somebody ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.events import Dropped
from plasm_fetching.failures import Contradiction, NoSourceLeft, Stopped
from plasm_fetching.fetching import Fetched, fetch
from plasm_fetching.http import FetchError
from plasm_fetching.partial import open_partial
from plasm_fetching.standing import Standing
from plasm_trust.layout import artifact_url

from plasm.commands import fail
from plasm.exitcodes import INTERRUPTED, NO
from plasm_boot.asking import Allows
from plasm_boot.progress import Progress
from plasm_boot.refreshing import NothingSigned, Signed, newest
from plasm_boot.trustfolder import TrustFolder

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be fetched, from whom."""

    channel: str
    arch: str
    names: tuple[str, ...]
    """Of artifacts; empty for all that are signed."""
    base_urls: tuple[str, ...]
    output: Path
    one_file: bool
    """Whether `output` is the artifact's own path, and not that of a folder."""
    resume: bool
    retries: int


def signed_now(
    wanted: Wanted, folder: TrustFolder, standing: Standing, allows: Allows, progress: Progress
) -> tuple[Signed, tuple[Artifact, ...]]:
    """What is signed, and what is wanted of it. Raises :exc:`plasm.commands.CommandFailed`."""
    pause = FIRST_PAUSE_SECONDS
    for left in reversed(range(wanted.retries + 1)):
        refused: list[Dropped] = []
        try:
            signed = newest(
                folder,
                wanted.base_urls,
                wanted.channel,
                wanted.arch,
                standing=standing,
                allows=allows,
                report=refused.append,
            )
        except NothingSigned as error:
            if not error.later or not left:
                fail(str(error), error.mend, NO)
            progress.note(f"{error}; again in {pause:g} s")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            continue
        for dropped in refused:
            progress.report(dropped)
        if signed.clock_note:
            progress.note(signed.clock_note)
        return signed, _chosen(wanted, signed.artifacts)
    raise AssertionError("the last attempt returns or fails")


def _chosen(wanted: Wanted, artifacts: Sequence[Artifact]) -> tuple[Artifact, ...]:
    by_name = {artifact.path.rpartition("/")[2]: artifact for artifact in artifacts}
    missing = [name for name in wanted.names if name not in by_name]
    if missing:
        fail(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not signed in"
            f" {wanted.channel}/{wanted.arch}",
            f"there are {', '.join(by_name)}",
            NO,
        )
    return tuple(by_name[name] for name in dict.fromkeys(wanted.names)) or tuple(artifacts)


def download(
    wanted: Wanted,
    artifacts: Sequence[Artifact],
    base_urls: Sequence[str],
    standing: Standing,
    allows: Allows,
    progress: Progress,
    there: Callable[[Artifact, Fetched], None],
) -> None:
    """Have each of `artifacts` in its place, and tell `there`.

    SIGTERM and Ctrl-C end it in order: what is whole stays for the next time. Raises
    :exc:`plasm.commands.CommandFailed`.
    """
    with _stoppable() as stop:
        for artifact in artifacts:
            name = artifact.path.rpartition("/")[2]
            target = wanted.output if wanted.one_file else wanted.output / name
            progress.begin(artifact)
            try:
                if not wanted.resume:
                    with open_partial(artifact, target) as partial:
                        partial.discard()
                fetched = fetch(
                    artifact,
                    [artifact_url(base_url, artifact) for base_url in base_urls],
                    target,
                    report=progress.report,
                    stop=stop,
                    standing=standing,
                    allows=allows,
                    retries=wanted.retries,
                )
            except Stopped:
                fail("interrupted", "what is there stays: the same command goes on from it", INTERRUPTED)
            except (NoSourceLeft, Contradiction) as error:
                fail(
                    str(error), "what is there stays: the same command goes on from it, with whoever is there then", NO
                )
            except FetchError as error:
                fail(str(error))
            progress.end(fetched)
            there(artifact, fetched)


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set while the block runs."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
