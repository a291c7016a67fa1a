"""What is signed at present: the newest that any of several providers can show, of whom none needs to be honest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.events import Dropped
from plasm_fetching.http import Busy, FetchError, Unreachable, parse_url, read
from plasm_fetching.standing import Standing
from plasm_trust.client import Reason, TrustClient, TrustRefused
from plasm_trust.layout import metadata_url
from plasm_trust.parsing import MAX_BYTES, parse
from plasm_trust.tufapi import Timestamp

from plasm_boot import clock
from plasm_boot.asking import Allows, Answer, ask_all
from plasm_boot.trustfolder import TrustFolder

MOST_PROVIDERS: Final = 16
METADATA_SECONDS: Final = 10.0
"""For all metadata of one provider: a few files, of which the largest has some hundred kilobytes."""
FILE_SECONDS: Final = 5.0
LOCK_SECONDS: Final = MOST_PROVIDERS * METADATA_SECONDS + 20.0
"""Longer than another program takes whose providers all do their worst."""


_WORDS: Final = {
    Reason.ROLLBACK: "it serves something older than what was seen already",
    Reason.FROZEN: "it serves what is out of date, or this machine's clock is wrong",
    Reason.MIX_AND_MATCH: "it serves parts that do not belong together",
    Reason.WRONG_ROLE: "it serves what the wrong keys have signed",
    Reason.ENDLESS_DATA: "it sends more than there may be",
    Reason.BAD_SIGNATURE: "it serves what the publisher's keys have not signed",
    Reason.MALFORMED: "it serves what is no metadata",
}


class NothingSigned(Exception):
    """What was asked for is not known to be signed; the message is one line, `mend` another."""

    def __init__(self, message: str, mend: str = "", *, later: bool = False) -> None:
        super().__init__(message)
        self.mend = mend
        self.later = later
        """Whether asking again may help: somebody did not answer."""


@dataclass(frozen=True)
class Signed:
    """What is signed for a channel and an architecture, and who can be asked for it."""

    artifacts: tuple[Artifact, ...]
    base_urls: tuple[str, ...]
    """Of providers whose metadata is good."""
    clock_note: str | None
    """What to tell people about this machine's clock."""


class _Reader:
    """Reads metadata, all of one provider's within one deadline."""

    def __init__(self, allows: Allows) -> None:
        self._allows = allows
        self._deadline = 0.0

    def begin(self) -> None:
        """The next provider's time begins."""
        self._deadline = time.monotonic() + METADATA_SECONDS

    def __call__(self, url: str, max_bytes: int) -> bytes:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Unreachable(f"{parse_url(url).origin} took more than {METADATA_SECONDS:g} s for its metadata")
        return read(url, max_bytes=max_bytes, timeout=min(FILE_SECONDS, left), allows=self._allows)


def newest(
    folder: TrustFolder,
    base_urls: Sequence[str],
    channel: str,
    arch: str,
    *,
    standing: Standing,
    allows: Allows,
    report: Callable[[Dropped], None],
) -> Signed:
    """The newest that is signed for `channel` and `arch`, of what the providers at `base_urls` show.

    Each is asked, those that were fast before first; one that cannot show what is newest and valid is dropped with the
    reason, which `report` is told and `standing` remembers. Raises :exc:`NothingSigned`.
    """
    reader = _Reader(allows)
    client = TrustClient(folder.path, reader, now=clock.now, build_time=clock.WRITTEN)
    round_ = _Round(client, reader, channel, arch, standing, report)
    ranked = _by_speed(base_urls, standing, allows, round_)
    with folder.lock(LOCK_SECONDS):
        for base_url, answer in ranked:
            round_.ask(base_url, answer)
    try:
        return round_.result()
    finally:
        standing.save()


class _Round:
    """One provider after the other, each of which can only make what is known newer."""

    def __init__(
        self,
        client: TrustClient,
        reader: _Reader,
        channel: str,
        arch: str,
        standing: Standing,
        report: Callable[[Dropped], None],
    ) -> None:
        self._client = client
        self._reader = reader
        self._channel = channel
        self._arch = arch
        self._standing = standing
        self._report = report
        self._artifacts: tuple[Artifact, ...] | None = None
        self._absent = ""
        self._newest = b""
        """The timestamp under which that is so."""
        self._good: list[tuple[str, bytes]] = []
        """Base URLs, and the timestamps that they showed."""
        self._reasons: list[str] = []
        self._mends: list[str] = []
        self._later = False

    def ask(self, base_url: str, answer: Answer) -> None:
        """Take what the provider at `base_url` knows; its timestamp is in `answer`."""
        if self._artifacts is not None and answer.data == self._newest:
            self._good.append((base_url, answer.data))
            return
        self._reader.begin()
        try:
            self._client.refresh(base_url)
            # What it said just now is newer than what others said, or the same: theirs does not count any more.
            self._artifacts, self._absent, self._newest = None, "", self._client.kept("timestamp")
            if self._channel in self._client.channels():
                self._artifacts = self._client.artifacts(self._channel, self._arch)
            else:
                self._absent = f"there is no channel {self._channel!r} in this repository"
        except FetchError as error:
            self.failed(base_url, error)
        except TrustRefused as error:
            if error.reason is Reason.ROLLBACK and self._artifacts is not None and not self._is_behind(answer.data):
                self._good.append((base_url, answer.data))
                return
            self._mends.append(error.mend)
            self._refuse(base_url, f"{_WORDS.get(error.reason, 'it is not believed')} ({error.message})")
        else:
            self._good.append((base_url, self._newest))

    def _is_behind(self, timestamp: bytes) -> bool:
        """Whether what somebody serves with `timestamp` is not the newest, or not to be served any more.

        A timestamp is signed anew every few days, and a mirror that has not got the last one yet serves the same. What
        `timestamp` says is not proven here: it decides who is asked for pieces, and those are.
        """
        try:
            shown = parse(Timestamp, timestamp, "timestamp.json").signed
            newest = parse(Timestamp, self._newest, "timestamp.json").signed
        except TrustRefused:
            return True
        return shown.snapshot_meta.version != newest.snapshot_meta.version or shown.is_expired(clock.now())

    def _refuse(self, base_url: str, reason: str) -> None:
        # Asked last the next time; asked all the same, because a mirror that was behind catches up.
        self._standing.note_rate(parse_url(base_url).origin, 0.0)
        self.drop(base_url, reason)

    def failed(self, base_url: str, error: FetchError) -> None:
        """The provider did not answer as it should, which may change."""
        self._later = self._later or isinstance(error, Unreachable | Busy)
        self.drop(base_url, str(error))

    def drop(self, base_url: str, reason: str) -> None:
        """The provider is of no use for this."""
        origin = parse_url(base_url).origin
        self._reasons.append(reason if origin in reason else f"{origin}: {reason}")
        self._report(Dropped(origin, reason))

    def result(self) -> Signed:
        """What came of it. Raises :exc:`NothingSigned`."""
        if self._absent:
            raise NothingSigned(self._absent)
        if self._artifacts is None:
            mend = self._client.clock_note or next(filter(None, self._mends), "")
            why = "; ".join(dict.fromkeys(self._reasons)) or "no provider is known"
            raise NothingSigned(f"no provider shows what is signed: {why}", mend, later=self._later)
        if not self._artifacts:
            raise NothingSigned(f"nothing is signed in {self._channel} for {self._arch}")
        current: list[str] = []
        for base_url, timestamp in self._good:
            if timestamp != self._newest and self._is_behind(timestamp):
                self._refuse(base_url, "it is behind: another provider shows what is newer")
            else:
                current.append(base_url)
        return Signed(self._artifacts, tuple(current), self._client.clock_note)


def _by_speed(base_urls: Sequence[str], standing: Standing, allows: Allows, round_: _Round) -> list[tuple[str, Answer]]:
    """The providers that answer, with their timestamps: those that were fast before, then those that are now."""
    by_origin = {parse_url(url).origin: url for url in reversed(base_urls)}
    origins = list(dict.fromkeys(parse_url(url).origin for url in base_urls))
    honest = []
    for origin in origins:
        if (lie := standing.lied(origin)) is not None:
            round_.drop(by_origin[origin], f"it lied before: {lie}")
        else:
            honest.append(origin)
    urls = [by_origin[origin] for origin in honest[: 2 * MOST_PROVIDERS]]
    answers = ask_all([f"{metadata_url(url)}timestamp.json" for url in urls], MAX_BYTES["timestamp"], allows)
    answered: dict[str, tuple[str, Answer]] = {}
    for url, answer in zip(urls, answers, strict=True):
        if isinstance(answer, Answer):
            answered[parse_url(url).origin] = (url, answer)
        else:
            round_.failed(url, answer)
    ranked = standing.ranked(sorted(answered, key=lambda origin: answered[origin][1].seconds))
    return [answered[origin] for origin in ranked[:MOST_PROVIDERS]]
