"""One provider asked for one content, in a thread: what comes is what the digest says, or an exception."""

from __future__ import annotations

import hashlib
import time
from typing import Final

from plasm_fetching.connecting import Allows
from plasm_fetching.http import (
    LONGEST_URL,
    Connection,
    FetchError,
    InvalidUrl,
    TooMuch,
    check_status,
    parse_url,
)

SLOWEST: Final = 64 * 1024
"""Bytes per second of a provider that is still waited for."""
_LONGEST_PATH = len("sha256/") + 64


class Lied(FetchError):
    """What came does not have the digest that was asked for."""


def parse_base(url: str) -> str:
    """A provider's URL as it is used, with a slash at its end. Raises :exc:`~plasm_fetching.http.InvalidUrl`."""
    parsed = parse_url(url)
    if "?" in parsed.target or len(url) + 1 + _LONGEST_PATH > LONGEST_URL:
        raise InvalidUrl(f"{url[:200]!a} is no provider's URL, which is like http://HOST:PORT/")
    return f"{parsed.origin}{parsed.target.rstrip('/')}/"


class Question:
    """To the provider at `base` for the content with the SHA-256 `hexadecimal`. Ask it once, with either method.

    :meth:`abort` ends it from another thread.
    """

    def __init__(self, base: str, hexadecimal: str, allows: Allows, timeout: float) -> None:
        self._url = f"{base}sha256/{hexadecimal}"
        self._parsed = parse_url(self._url)
        self._digest = hexadecimal
        self._timeout = timeout
        self._connection = Connection(self._parsed, allows=allows)

    def content(self, max_bytes: int) -> bytes:
        """The whole content. Raises :exc:`Lied` or as :meth:`plasm_fetching.http.Connection.read`."""
        content = self._connection.read(max_bytes=max_bytes, timeout=self._timeout, slowest=SLOWEST)
        if hashlib.sha256(content).hexdigest() != self._digest:
            raise Lied(f"{self._url} is other content than its name says")
        return content

    def size(self, max_bytes: int) -> int | None:
        """How long the content is said to be; ``None`` where that is not told.

        Raises :exc:`~plasm_fetching.http.FetchError`, :exc:`~plasm_fetching.http.Absent` and
        :exc:`~plasm_fetching.http.TooMuch` among them.
        """
        deadline = time.monotonic() + self._timeout
        # One byte, where the server serves ranges; else the head is read, and the connection closed on the rest.
        headers = {"Range": "bytes=0-0", "Connection": "close"}
        try:
            answer = self._connection.get(self._parsed.target, headers, deadline=deadline, stall=self._timeout)
            if answer.status == 416:
                # No first byte: the content is empty, or the server is odd, and then reading it will tell.
                return 0
            if answer.status == 206:
                size: int | None = answer.content_range[2]
            else:
                check_status(answer.status, 200, self._url)
                size = answer.length
        finally:
            self._connection.close()
        if size is not None and size > max_bytes:
            raise TooMuch(f"{self._url} has {size} bytes, {max_bytes} at most are taken")
        return size

    def abort(self) -> None:
        """End it; from any thread."""
        self._connection.abort()
