"""What is signed at present: the newest that any of several providers can show, of whom none needs to be honest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.events import Dropped
from plasm_fetching.http import Busy, FetchError, Unreachable, parse_url, read
from plasm_fetching.standing import Standing
from plasm_trust.client import TrustClient, TrustRefused
from plasm_trust.layout import metadata_url
from plasm_trust.parsing import MAX_BYTES

from plasm_boot.asking import Allows, Answer, ask_all
from plasm_boot.trustfolder import RELEASED, TrustFolder

MOST_PROVIDERS: Final = 16
METADATA_SECONDS: Final = 15.0
"""For all metadata of one provider: a few files, of which the largest has some hundred kilobytes."""
FILE_SECONDS: Final = 5.0


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


def now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


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
    client = TrustClient(folder.path, reader, now=now, build_time=RELEASED)
    round_ = _Round(client, reader, channel, arch, standing, report)
    with folder.lock():
        for base_url, answer in _by_speed(base_urls, standing, allows, round_):
            round_.ask(base_url, answer)
    standing.save()
    return round_.result()


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
        self._good: list[str] = []
        self._reasons: list[str] = []
        self._absent = ""
        self._mends: list[str] = []
        self._later = False

    def ask(self, base_url: str, answer: Answer) -> None:
        """Take what the provider at `base_url` knows; its timestamp is in `answer`."""
        if self._artifacts is not None and answer.data == self._client.kept("timestamp"):
            self._good.append(base_url)
            return
        self._reader.begin()
        try:
            self._client.refresh(base_url)
            # What it said just now is newer than what others said, or the same: theirs does not count any more.
            self._artifacts, self._absent = None, ""
            if self._channel in self._client.channels():
                self._artifacts = self._client.artifacts(self._channel, self._arch)
            else:
                self._absent = f"there is no channel {self._channel!r} in this repository"
        except FetchError as error:
            self.failed(base_url, error)
        except TrustRefused as error:
            # Asked last the next time; asked all the same, because a mirror that was behind catches up.
            self._standing.note_rate(parse_url(base_url).origin, 0.0)
            self._mends.append(error.mend)
            self.drop(base_url, error.message)
        else:
            self._good.append(base_url)

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
        if self._absent:
            raise NothingSigned(self._absent)
        if self._artifacts is None:
            mend = self._client.clock_note or next(filter(None, self._mends), "")
            why = "; ".join(dict.fromkeys(self._reasons)) or "no provider is known"
            raise NothingSigned(f"no provider shows what is signed: {why}", mend, later=self._later)
        if not self._artifacts:
            raise NothingSigned(f"nothing is signed in {self._channel} for {self._arch}")
        return Signed(self._artifacts, tuple(self._good), self._client.clock_note)


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
