"""A small HTTP/1.1 client (RFC 9112) on the standard library's: deadlines that hold, caps, and nothing followed.

No proxy is taken from the environment, no redirect is followed, no compression is asked for. Plain ``http://`` is fine
for what is verified by signed digests afterwards, which is all that this library is for.
"""

from __future__ import annotations

import http.client
import io
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from plasm_fetching.connecting import Allows, Connecting, NoneAllowed, Unresolved
from plasm_fetching.sockets import TimedSocket

USER_AGENT: Final = "plasm-fetching/0.1"
LONGEST_URL: Final = 2048
MOST_HEADERS: Final = 64
LONGEST_HEADERS: Final = 32 * 1024
"""Bytes of all header fields together."""
_CHUNK = 64 * 1024
_SHOWN = 200
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TARGET = re.compile(r"/[!-~]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,19}", re.ASCII)


class FetchError(Exception):
    """Something could not be fetched; the message is one line, fit to be shown."""

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


class InvalidUrl(FetchError):
    """Not an absolute ``http`` or ``https`` URL without user information and fragment."""


class Unreachable(FetchError):
    """No connection, or it broke or fell silent before the answer was whole."""


class TimedOut(Unreachable):
    """It was waited for long enough."""


class AddressForbidden(Unreachable):
    """The host has no address that may be connected to."""


class Absent(FetchError):
    """The server does not have it (404 or 410)."""


class Denied(FetchError):
    """The server answered with another status than was asked for, a redirect among them."""


class Busy(Denied):
    """The server cannot answer now (429 or 5xx), and may later."""


class TooMuch(FetchError):
    """The answer is longer than the cap."""


class BadAnswer(FetchError):
    """The answer breaks HTTP, or is not about what was asked."""


@dataclass(frozen=True)
class Url:
    """An URL taken apart; `target` is path and query as they are sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """``http://HOST:PORT``, always with the port: what a server is remembered by."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_url(url: str) -> Url:
    """Take `url` apart. Raises :exc:`InvalidUrl`."""
    try:
        if len(url) > LONGEST_URL:
            raise ValueError("too long")
        # The parser would drop line breaks and what stands in front: another URL than the one that was given.
        if not url.isprintable() or " " in url:
            raise ValueError("there is white space in it")
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError as error:
        raise InvalidUrl(f"{url[:_SHOWN]!a} is no URL: {error}") from None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if (
        parts.scheme not in _DEFAULT_PORTS
        or not host
        or "@" in parts.netloc
        or parts.fragment
        or port == 0
        or not _HOST.fullmatch(host)
        or not _TARGET.fullmatch(target)
        or "\\" in target
    ):
        raise InvalidUrl(f"{url[:_SHOWN]!a} is not an absolute http:// or https:// URL")
    return Url(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], target)


class Connection:
    """One connection to an origin, opened when it is needed and kept between requests. Not for two threads at once.

    :meth:`abort` alone may be called from another thread: what waits on the connection then ends at once.
    """

    def __init__(self, url: Url, *, allows: Allows | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._allows = allows
        self._tls = tls
        self._http: http.client.HTTPConnection | None = None
        self._connecting: Connecting | None = None
        self._socket: TimedSocket | None = None
        self._aborted = False

    def get(self, target: str, headers: Mapping[str, str] | None = None, *, deadline: float, stall: float) -> Response:
        """Ask for `target` and read the head of the answer.

        Everything, the body's reading included, ends by `deadline` (of :func:`time.monotonic`), and no single wait is
        longer than `stall` seconds. A kept connection that the server has closed meanwhile is opened anew, once. Raises
        :exc:`Unreachable`, :exc:`TimedOut` and :exc:`AddressForbidden` among them, or :exc:`BadAnswer`.
        """
        if self._http is not None and self._http.sock is None:
            # The server said that it would not keep it.
            self.close()
        kept = self._http is not None
        try:
            return self._ask(target, headers or {}, deadline, stall)
        except TimedOut:
            raise
        except Unreachable:
            self.close()
            if not kept or self._aborted:
                raise
            return self._ask(target, headers or {}, deadline, stall)

    def _ask(self, target: str, headers: Mapping[str, str], deadline: float, stall: float) -> Response:
        connection = self._opened(deadline, stall)
        assert self._socket is not None
        self._socket.deadline, self._socket.stall = deadline, stall
        try:
            connection.putrequest("GET", target, skip_accept_encoding=True)
            connection.putheader("User-Agent", USER_AGENT)
            connection.putheader("Accept-Encoding", "identity")
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
        except OSError as error:
            self.close()
            raise self._unreachable(error) from None
        except (http.client.HTTPException, ValueError) as error:
            self.close()
            raise BadAnswer(f"{self._url.origin} does not speak HTTP: {type(error).__name__}") from None
        if len(answer.headers) > MOST_HEADERS or sum(map(len, answer.headers.values())) > LONGEST_HEADERS:
            self.close()
            raise BadAnswer(f"{self._url.origin} sends too many header fields")
        return Response(self, answer, self._url)

    def _opened(self, deadline: float, stall: float) -> http.client.HTTPConnection:
        if self._aborted:
            raise Unreachable(f"{self._url.origin}: given up")
        if self._http is None:
            self._socket = self._connected(deadline, stall)
            connection = http.client.HTTPConnection(self._url.host, self._url.port)
            connection.auto_open = 0
            connection.sock = self._socket
            if self._url.scheme == "https":
                # Of the ``Host`` field alone: that of the other scheme would be written out.
                connection.default_port = _DEFAULT_PORTS["https"]
            self._http = connection
        return self._http

    def _connected(self, deadline: float, stall: float) -> TimedSocket:
        host, secure = self._url.host, self._url.scheme == "https"
        connecting = Connecting(host, self._url.port, secure=secure, allows=self._allows, tls=self._tls)
        self._connecting = connecting
        if self._aborted:
            connecting.abort()
        try:
            return connecting.connected(deadline, stall)
        except NoneAllowed:
            raise AddressForbidden(f"{host} has no address that may be connected to here") from None
        except Unresolved as error:
            raise Unreachable(f"{host} cannot be resolved: {_reason(error)}") from None
        except OSError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: OSError) -> Unreachable:
        if self._aborted:
            return Unreachable(f"{self._url.origin}: given up")
        kind = TimedOut if isinstance(error, TimeoutError) else Unreachable
        return kind(f"{self._url.origin}: {_reason(error)}")

    def read(self, *, max_bytes: int, timeout: float, slowest: int | None = None) -> bytes:
        """The whole of the URL's file, and close the connection.

        No single wait is longer than `timeout` seconds, and neither is all of it; with `slowest`, a file whose length
        is told may take as much longer as it would at so many bytes per second. Raises :exc:`Unreachable`,
        :exc:`AddressForbidden`, :exc:`Absent`, :exc:`Denied`, :exc:`TooMuch` or :exc:`BadAnswer`.
        """
        url = f"{self._url.origin}{self._url.target}"
        deadline = time.monotonic() + timeout
        try:
            answer = self.get(self._url.target, {"Connection": "close"}, deadline=deadline, stall=timeout)
            check_status(answer.status, 200, url)
            length = answer.length
            if length is not None and length > max_bytes:
                raise TooMuch(f"{url} has {length} bytes, {max_bytes} at most are taken")
            if length is not None and slowest is not None and self._socket is not None:
                self._socket.deadline = deadline + length / slowest
            taken = io.BytesIO()
            buffer = memoryview(bytearray(min(_CHUNK, max_bytes + 1)))
            while count := answer.read_into(buffer):
                if taken.tell() + count > max_bytes:
                    raise TooMuch(f"{url} has more than {max_bytes} bytes, which is the most that is taken")
                taken.write(buffer[:count])
            if self._aborted:
                raise Unreachable(f"{self._url.origin}: given up")
            if length is not None and taken.tell() != length:
                raise Unreachable(f"{url} broke off after {taken.tell()} of {length} bytes")
            if not (taken.tell() or answer.says_its_end):
                raise Unreachable(f"{url} broke off before there was anything")
            return taken.getvalue()
        finally:
            self.close()

    def abort(self) -> None:
        """End whatever waits on this connection, from any thread; it is of no more use."""
        self._aborted = True
        connecting = self._connecting
        if connecting is not None:
            connecting.abort()

    def close(self) -> None:
        """Close it; the next request opens it anew."""
        if self._http is not None:
            self._http.close()
        self._http = self._socket = self._connecting = None


class Response:
    """The answer to a request, whose body is yet to be read."""

    def __init__(self, connection: Connection, answer: http.client.HTTPResponse, url: Url) -> None:
        self._connection = connection
        self._answer = answer
        self._origin = url.origin
        self.status = answer.status

    @property
    def length(self) -> int | None:
        """The body's length as the server gives it. Raises :exc:`BadAnswer` where that is no number."""
        if self._answer.chunked:
            # Whatever else it says (RFC 9112, section 6.3).
            return None
        values = self._answer.headers.get_all("Content-Length") or []
        if not values:
            return None
        if len(set(values)) > 1 or not _LENGTH.fullmatch(values[0]):
            raise BadAnswer(f"{self._origin} gives a length that is none")
        return int(values[0])

    @property
    def says_its_end(self) -> bool:
        """Whether a body that breaks off can be told from one that is whole; nor can a head, where it cannot."""
        return self.length is not None or bool(self._answer.chunked)

    @property
    def artifact_hash(self) -> str | None:
        """Of what content the server says that this is (a part), as ``sha256:HEX``; ``None`` where it does not."""
        value: str | None = self._answer.headers.get("X-Artifact-Hash")
        return value.strip().lower() if value is not None else None

    @property
    def content_range(self) -> tuple[int, int, int]:
        """First byte, last byte and whole size (RFC 9110, section 14.4). Raises :exc:`BadAnswer`."""
        return parse_content_range(self._answer.headers.get("Content-Range", ""), self._origin)

    def read_into(self, view: memoryview) -> int:
        """Some of the body; 0 at its end. Raises :exc:`Unreachable` or :exc:`BadAnswer`."""
        try:
            return self._answer.readinto(view)
        except OSError as error:
            self._connection.close()
            raise Unreachable(f"{self._origin}: {_reason(error)}") from None
        except (http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise BadAnswer(f"{self._origin} breaks off in mid-answer: {type(error).__name__}") from None

    def finish(self) -> None:
        """Keep the connection where all of the body was read, close it where it was not."""
        if not self._answer.isclosed():
            self._connection.close()


def read(url: str, *, max_bytes: int, timeout: float = 10.0, allows: Allows | None = None) -> bytes:
    """The whole of a small file, all of it within `timeout` seconds.

    Raises :exc:`InvalidUrl` or as :meth:`Connection.read`.
    """
    return Connection(parse_url(url), allows=allows).read(max_bytes=max_bytes, timeout=timeout)


def check_status(status: int, wanted: int, url: str) -> None:
    """Raises :exc:`Absent`, :exc:`Busy` or :exc:`Denied` where `status` is not the one that is `wanted`."""
    if status in (404, 410):
        raise Absent(f"{url} is not there")
    if 300 <= status < 400:
        raise Denied(f"{url} redirects elsewhere, which is not followed")
    if status == 429 or status >= 500:
        raise Busy(f"{url} answers with status {status}")
    if status != wanted:
        raise Denied(f"{url} answers with status {status}")


def parse_content_range(text: str, origin: str = "the server") -> tuple[int, int, int]:
    """First byte, last byte and whole size of ``bytes FIRST-LAST/SIZE``. Raises :exc:`BadAnswer`."""
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None:
        raise BadAnswer(f"{origin} does not say which bytes it sends")
    first, last, size = (int(number) for number in match.groups())
    if not first <= last < size:
        raise BadAnswer(f"{origin} claims to send bytes that cannot be")
    return first, last, size


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _one_line(text: str) -> str:
    flat = " ".join(text.split())[:2000]
    return flat if flat.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in flat)
