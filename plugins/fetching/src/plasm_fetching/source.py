"""One provider of an artifact: its connection, its speed, and one piece after another, verified before it is used."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.connecting import Allows
from plasm_fetching.http import (
    BadAnswer,
    Connection,
    FetchError,
    Response,
    Unreachable,
    check_status,
    parse_url,
)
from plasm_fetching.partial import span

STALL_SECONDS: Final = 10.0
"""For which a source may send nothing."""
SLOWEST: Final = 8 * 1024
"""Bytes per second: a source that is slower fails its piece, so that nothing is waited for without end."""
_RATE_WEIGHT = 0.5
_RECEIVE = 256 * 1024


class Lied(FetchError):
    """What came does not have the digest that was signed."""


class OtherArtifact(BadAnswer):
    """The source has something else under that name."""


class Source:
    """Brings pieces of one artifact from `url`. Used by one thread; :meth:`abort` may be called by others."""

    def __init__(self, url: str, artifact: Artifact, *, allows: Allows | None, stall: float) -> None:
        self._url = parse_url(url)
        self._shown = url
        self._artifact = artifact
        self._allows = allows
        self._stall = stall
        self._connection: Connection | None = None
        self.origin = self._url.origin
        self.received = 0
        """Bytes that came, whatever they were worth."""
        self.brought = 0
        """Bytes of pieces that were verified and not there before."""
        self.rate: float | None = None
        """Bytes per second of late; ``None`` before anything came."""

    def piece(self, number: int, buffer: memoryview) -> memoryview:
        """Piece `number`, verified, in `buffer`. Raises :exc:`Lied` or another :exc:`FetchError`."""
        start, length = span(self._artifact, number)
        began = time.monotonic()
        view = buffer[:length]
        answer = self.ask(start, length)
        got = 0
        while got < length and (count := answer.read_into(view[got : got + _RECEIVE])):
            got += count
            self.received += count
        answer.finish()
        if got < length:
            self.close()
            raise Unreachable(f"{self.origin} broke off after {got} of {length} bytes")
        if hashlib.sha256(view).hexdigest() != self._artifact.pieces[number]:
            raise Lied(f"{self.origin} sent a piece {number} of {self._artifact.path} that is not the signed one")
        self._measure(length, time.monotonic() - began)
        return view

    def ask(self, start: int, length: int) -> Response:
        """The head of an answer with exactly these bytes. Raises :exc:`~plasm_fetching.http.FetchError`."""
        if self._connection is None:
            self._connection = Connection(self._url, allows=self._allows)
        size = self._artifact.size
        patience = self._stall + length / SLOWEST
        answer = self._connection.get(
            self._url.target,
            {"Range": f"bytes={start}-{start + length - 1}"},
            deadline=time.monotonic() + patience,
            stall=self._stall,
        )
        try:
            self._check(answer, start, length, size)
        except FetchError:
            answer.finish()
            raise
        return answer

    def _check(self, answer: Response, start: int, length: int, size: int) -> None:
        said = answer.artifact_hash
        if answer.status in (200, 206) and said is not None and said != f"sha256:{self._artifact.sha256}":
            # One that is behind and says so has not lied.
            raise OtherArtifact(f"{self._shown} is another version than the one that was signed")
        if answer.status == 416:
            raise OtherArtifact(f"{self._shown} is shorter than what was signed: another version")
        # A server may leave the range out of account; that is of use where all was asked for.
        if answer.status == 200 and length != size:
            raise BadAnswer(f"{self._shown} does not serve parts of files")
        if answer.status != 200 or length != size:
            check_status(answer.status, 206, self._shown)
            first, last, whole = answer.content_range
            if whole != size:
                raise OtherArtifact(f"{self._shown} has {whole} bytes and not the {size} that were signed")
            if (first, last) != (start, start + length - 1):
                raise BadAnswer(f"{self._shown} answers with other bytes than were asked for")
        if answer.length is None:
            raise BadAnswer(f"{self._shown} does not say how much it sends")
        if answer.length != length:
            raise OtherArtifact(f"{self._shown} gives {answer.length} bytes where {length} were asked for")

    def read(self, answer: Response, buffer: memoryview, sink: Callable[[memoryview], None]) -> int:
        """Hand the rest of `answer` to `sink` as it comes; how many bytes it was."""
        began, got = time.monotonic(), 0
        while count := answer.read_into(buffer):
            got += count
            self.received += count
            sink(buffer[:count])
        answer.finish()
        self._measure(got, time.monotonic() - began)
        return got

    def _measure(self, size: int, seconds: float) -> None:
        rate = size / max(seconds, 1e-6)
        self.rate = rate if self.rate is None else _RATE_WEIGHT * rate + (1 - _RATE_WEIGHT) * self.rate

    def abort(self) -> None:
        """End what :meth:`piece` waits for; from another thread."""
        connection = self._connection
        if connection is not None:
            connection.abort()

    def renew(self) -> None:
        """Forget the connection: the next piece comes over a new one."""
        self.close()
        self._connection = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
