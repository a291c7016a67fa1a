"""The HTTP client against servers that mean it no good: it ends, within its caps, with bytes or with one line."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plasm_fetching.http import (
    LONGEST_URL,
    Absent,
    AddressForbidden,
    BadAnswer,
    Busy,
    Connection,
    Denied,
    FetchError,
    InvalidUrl,
    TooMuch,
    Unreachable,
    Url,
    parse_content_range,
    parse_url,
    read,
)

LONG = 1000.0
"""Seconds that no test waits."""
Answer = Callable[[socket.socket], None]


class Server:
    """Takes connections and has `answer` deal with each request, whatever that sends, until it returns."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1", requests_each: int = 1) -> None:
        self._answer = answer
        self._requests_each = requests_each
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.connections = 0
        self.heads: list[bytes] = []
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/file"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            for _ in range(self._requests_each):
                head = b""
                while b"\r\n\r\n" not in head:
                    data = connection.recv(65536)
                    if not data:
                        return
                    head += data
                self.heads.append(head)
                self._answer(connection)

    def stop(self) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, which send some bytes or do what they are given; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(answer: Answer | bytes, **options: object) -> Server:
            act = (lambda connection: connection.sendall(answer)) if isinstance(answer, bytes) else answer
            server = Server(act, **options)  # type: ignore[arg-type]
            stack.callback(server.stop)
            return server

        yield start


def ok(body: bytes, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def drip(data: Iterator[bytes]) -> Answer:
    """Send `data` bit by bit, never so slow that a single wait would be long."""

    def answer(connection: socket.socket) -> None:
        pause = threading.Event()
        for each in data:
            connection.sendall(each)
            pause.wait(0.01)

    return answer


def flood(head: bytes, piece: bytes) -> Answer:
    """Send `head`, and then `piece` without end."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    return answer


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 1000])
def test_a_file_comes_whole(serve: Serve, body: bytes):
    server = serve(ok(body))
    assert read(server.url, max_bytes=len(body), timeout=LONG) == body
    (head,) = server.heads
    assert head.startswith(b"GET /file HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in head
    assert b"Accept-Encoding: identity\r\n" in head


def test_without_a_length_it_ends_with_the_connection(serve: Serve):
    assert read(serve(b"HTTP/1.1 200 OK\r\n\r\nall of it").url, max_bytes=100, timeout=LONG) == b"all of it"


def test_chunks_are_put_together(serve: Serve):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = serve(head + b"4\r\nPlas\r\n1;name=value\r\nm\r\n0\r\nTrailer: x\r\n\r\n")
    assert read(server.url, max_bytes=5, timeout=LONG) == b"Plasm"
    with pytest.raises(TooMuch):
        read(server.url, max_bytes=4, timeout=LONG)


def test_chunks_end_where_they_say_whatever_the_length_is_said_to_be(serve: Serve):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert read(serve(head + b"5\r\nPlasm\r\n0\r\n\r\n").url, max_bytes=5, timeout=LONG) == b"Plasm"
    with pytest.raises(TooMuch):
        read(serve(head + b"5\r\nPlasm\r\n0\r\n\r\n").url, max_bytes=4, timeout=LONG)


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"5\r\nab", b"\r\n", b"-5\r\nabcdefgh", b"ffffffffffffffff\r\nab"])
def test_broken_chunks_are_no_answer(serve: Serve, chunks: bytes):
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    with pytest.raises((BadAnswer, Unreachable)):
        read(server.url, max_bytes=100, timeout=LONG)


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
DRIPS = {
    "the body": lambda: drip(itertools.chain([LENGTH], itertools.repeat(b"x"))),
    "the head": lambda: drip(itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], itertools.repeat(b"x"))),
    "fields": lambda: drip(itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X: y\r\n"))),
    "the status": lambda: drip(itertools.repeat(b"H")),
    "that it may go on": lambda: drip(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "chunks": lambda: drip(
        itertools.chain([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"1\r\nx\r\n"))
    ),
    "nothing": lambda: drip(itertools.repeat(b"")),
}


@pytest.mark.parametrize("what", DRIPS)
def test_the_deadline_holds_against_one_that_sends_bit_by_bit(serve: Serve, what: str):
    server = serve(DRIPS[what]())
    with pytest.raises((Unreachable, BadAnswer), match=r"timed out|does not speak HTTP") as caught:
        read(server.url, max_bytes=2 * 10**9, timeout=0.3)
    if what != "fields":
        assert "timed out" in str(caught.value)


def test_one_that_is_slow_but_fast_enough_for_its_length_is_waited_for(serve: Serve):
    def answer(connection: socket.socket) -> None:
        connection.sendall(ok(b"", length=20))
        for _ in range(20):
            connection.sendall(b"x")
            threading.Event().wait(0.05)

    url = serve(answer).url
    with pytest.raises(Unreachable, match="timed out"):
        Connection(parse_url(url)).read(max_bytes=100, timeout=0.5)
    assert Connection(parse_url(url)).read(max_bytes=100, timeout=0.5, slowest=1) == b"x" * 20


def test_a_stall_is_no_better_for_a_long_file(serve: Serve):
    server = serve(lambda connection: (connection.sendall(LENGTH), connection.recv(1)))
    with pytest.raises(Unreachable, match="timed out"):
        Connection(parse_url(server.url)).read(max_bytes=2 * 10**9, timeout=0.2, slowest=1)


def test_a_length_beyond_the_cap_is_refused_before_anything_is_read(serve: Serve):
    server = serve(lambda connection: (connection.sendall(ok(b"", length=10**18)), connection.recv(1)))
    with pytest.raises(TooMuch, match="has 1000000000000000000 bytes, 100 at most"):
        read(server.url, max_bytes=100, timeout=LONG)


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"], ids=["raw", "chunked"])
def test_an_endless_body_ends_at_the_cap(serve: Serve, head: bytes):
    piece = b"1000\r\n" + bytes(4096) + b"\r\n" if head else bytes(4096)
    server = serve(flood(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", piece))
    with pytest.raises(TooMuch, match="more than 100000 bytes"):
        read(server.url, max_bytes=100_000, timeout=LONG)


HEADS = {
    "fields without end": flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
    "a field without end": flood(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096),
    "a status without end": flood(b"HTTP/1.1 ", b"2" * 4096),
    "a few too many fields": ok(b"", *(f"X{number}: y" for number in range(70))),
    "long fields": ok(b"", *(f"X{number}: {'y' * 10_000}" for number in range(4))),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no number": b"HTTP/1.1 OK\r\n\r\n",
    "another version": b"HTTP/9.9 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("what", HEADS)
def test_what_is_no_head_of_an_answer_is_told(serve: Serve, what: str):
    with pytest.raises(BadAnswer) as caught:
        read(serve(HEADS[what]).url, max_bytes=100, timeout=LONG)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("length", ["-1", "+5", "5 6", "0x5", "5.0", "\xb2", "9" * 30, "5\r\nContent-Length: 6"])
def test_a_length_that_is_none_is_refused(serve: Serve, length: str):
    server = serve(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello".encode("latin-1"))
    with pytest.raises(BadAnswer, match="a length that is none"):
        read(server.url, max_bytes=100, timeout=LONG)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("404 Not Found", Absent),
        ("410 Gone", Absent),
        ("403 Forbidden", Denied),
        ("206 Partial Content", Denied),
        ("204 No Content", Denied),
        ("429 Too Many Requests", Busy),
        ("500 Internal Server Error", Busy),
        ("503 Service Unavailable", Busy),
    ],
)
def test_another_status_is_an_error_of_its_own(serve: Serve, status: str, kind: type[FetchError]):
    with pytest.raises(kind) as caught:
        read(serve(ok(b"", status=status)).url, max_bytes=100, timeout=LONG)
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "304 Not Modified"])
def test_no_redirect_is_followed(serve: Serve, status: str):
    elsewhere = serve(ok(b"elsewhere"))
    server = serve(ok(b"", f"Location: {elsewhere.url}", status=status))
    with pytest.raises(Denied, match="redirects elsewhere, which is not followed"):
        read(server.url, max_bytes=100, timeout=LONG)
    assert elsewhere.connections == 0


def test_no_proxy_is_taken_from_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    proxy, server = serve(ok(b"by the proxy")), serve(ok(b"straight"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    assert read(server.url, max_bytes=100, timeout=LONG) == b"straight"
    assert proxy.connections == 0


@pytest.mark.parametrize("sent", [0, 5])
def test_one_that_breaks_off_is_told(serve: Serve, sent: int):
    with pytest.raises(Unreachable, match=f"broke off after {sent} of 10 bytes"):
        read(serve(ok(b"x" * sent, length=10)).url, max_bytes=100, timeout=LONG)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nServer: x\r\n", b"HTTP/1.1 200 OK\r\nS"])
def test_a_head_that_breaks_off_is_no_empty_file(serve: Serve, head: bytes):
    with pytest.raises(Unreachable, match="broke off"):
        read(serve(head).url, max_bytes=100, timeout=LONG)


def test_an_empty_file_in_chunks_is_one(serve: Serve):
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert read(server.url, max_bytes=100, timeout=LONG) == b""


@given(st.text("\0\n\r\x1b\u2028 a\ud800", max_size=40))
def test_what_a_failure_says_is_one_line(text: str):
    assert str(FetchError(text)).isprintable()


def test_one_that_hangs_up_is_told(serve: Serve):
    with pytest.raises(Unreachable):
        read(serve(lambda connection: None).url, max_bytes=100, timeout=LONG)


def test_what_takes_no_connection_is_told():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="Connection refused"):
            read(f"http://127.0.0.1:{bound.getsockname()[1]}/", max_bytes=1, timeout=LONG)


def test_ipv6_by_its_address(serve: Serve):
    try:
        server = serve(ok(b"six"), host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert parse_url(server.url).origin == f"http://[::1]:{server.port}"
    assert read(server.url, max_bytes=3, timeout=LONG) == b"six"
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.heads[0]


def fetched(connection: Connection) -> bytes:
    answer = connection.get("/file", deadline=time.monotonic() + LONG, stall=LONG)
    buffer = memoryview(bytearray(100))
    body = b""
    while count := answer.read_into(buffer):
        body += buffer[:count]
    answer.finish()
    return body


def test_a_connection_is_kept_between_requests(serve: Serve):
    server = serve(ok(b"again"), requests_each=3)
    connection = Connection(parse_url(server.url))
    assert [fetched(connection) for _ in range(3)] == [b"again"] * 3
    assert server.connections == 1
    connection.close()


def test_a_kept_connection_that_the_server_closed_is_opened_anew(serve: Serve):
    server = serve(ok(b"again"), requests_each=1)
    connection = Connection(parse_url(server.url))
    assert [fetched(connection) for _ in range(3)] == [b"again"] * 3
    assert server.connections == 3
    connection.close()


@pytest.mark.parametrize(
    "answer",
    [ok(b"again", "Connection: close"), b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nagain"],
    ids=["says so", "HTTP/1.0"],
)
def test_where_the_server_keeps_no_connection_each_request_has_its_own(serve: Serve, answer: bytes):
    server = serve(answer)
    connection = Connection(parse_url(server.url))
    assert [fetched(connection) for _ in range(3)] == [b"again"] * 3
    assert server.connections == 3
    connection.close()


def test_one_that_falls_silent_on_a_kept_connection_is_not_waited_for_twice(serve: Serve):
    answers = iter([ok(b"the first")])

    def answer(connection: socket.socket) -> None:
        connection.sendall(next(answers, b""))

    server = serve(answer, requests_each=3)
    connection = Connection(parse_url(server.url))
    assert fetched(connection) == b"the first"
    with pytest.raises(Unreachable, match="timed out"):
        connection.get("/file", deadline=time.monotonic() + LONG, stall=0.2)
    assert server.connections == 1


def test_it_is_opened_anew_once_and_no_more(serve: Serve):
    answers = iter([ok(b"the first")])
    server = serve(lambda connection: connection.sendall(next(answers, b"")))
    connection = Connection(parse_url(server.url))
    assert fetched(connection) == b"the first"
    with pytest.raises(Unreachable):
        fetched(connection)
    assert server.connections == 2


def test_an_answer_that_was_not_read_to_its_end_costs_the_connection(serve: Serve):
    server = serve(ok(b"x" * 50), requests_each=2)
    connection = Connection(parse_url(server.url))
    answer = connection.get("/file", deadline=time.monotonic() + LONG, stall=LONG)
    assert answer.read_into(memoryview(bytearray(10))) == 10
    answer.finish()
    assert fetched(connection) == b"x" * 50
    assert server.connections == 2
    connection.close()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", LENGTH + b"x"], ids=["nothing", "a status", "some"])
def test_abort_from_another_thread_ends_the_wait(serve: Serve, sent: bytes):
    def answer(server_side: socket.socket) -> None:
        server_side.sendall(sent)
        connection.abort()
        server_side.recv(1)

    server = serve(answer, requests_each=2)
    connection = Connection(parse_url(server.url))
    with pytest.raises(Unreachable):
        connection.read(max_bytes=2 * 10**9, timeout=LONG)
    with pytest.raises(Unreachable, match="given up"):
        fetched(connection)
    assert server.connections == 1


@pytest.fixture
def full() -> Iterator[str]:
    """The URL of a server whose queue is full: a connection to it is neither taken nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/file"


def test_abort_ends_an_attempt_to_connect(full: str):
    connection = Connection(parse_url(full))
    threading.Timer(0.1, connection.abort).start()
    with pytest.raises(Unreachable, match="given up"):
        connection.read(max_bytes=1, timeout=LONG)


class Resolver:
    """Stands in for a name server that does not answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        self.over = threading.Event()
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, *arguments: Any, **keywords: Any) -> list[Any]:
        if host == "name.test" and not keywords.get("flags", 0) & socket.AI_NUMERICHOST:
            self.asked.set()
            self.over.wait()
        return self._real(host, *arguments, **keywords)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver(monkeypatch)
    yield resolver
    resolver.over.set()


def test_the_deadline_holds_for_the_look_up_of_a_name(resolver: Resolver):
    with pytest.raises(Unreachable, match="timed out"):
        read("http://name.test/file", max_bytes=1, timeout=0.2)
    assert resolver.asked.is_set()


def test_abort_ends_the_look_up_of_a_name(resolver: Resolver):
    connection = Connection(parse_url("http://name.test/file"))

    def abort() -> None:
        resolver.asked.wait()
        connection.abort()

    threading.Thread(target=abort).start()
    with pytest.raises(Unreachable, match="given up"):
        connection.read(max_bytes=1, timeout=LONG)


def test_an_address_that_is_not_allowed_sees_no_connection(serve: Serve):
    server = serve(ok(b"x"))
    asked: list[str] = []

    def allows(ip: str) -> bool:
        asked.append(ip)
        return False

    with pytest.raises(AddressForbidden, match="no address that may be connected to"):
        read(server.url, max_bytes=1, timeout=LONG, allows=allows)
    assert asked == ["127.0.0.1"]
    assert server.connections == 0


def test_of_a_name_every_address_is_asked_about(serve: Serve):
    server = serve(ok(b"x"))
    url = f"http://localhost:{server.port}/"
    asked: list[str] = []

    def allows(ip: str) -> bool:
        asked.append(ip)
        return ip == "127.0.0.1"

    assert read(url, max_bytes=1, timeout=LONG, allows=allows) == b"x"
    assert asked[-1] == "127.0.0.1"


@given(st.text(max_size=80) | st.text("htps:/[]@#?%.\\\n\t 0129af-é\u2100", max_size=40).map("http://".__add__))
@example("http://[::1%lo]:1/")
@example("http://[v1.x]/")
@example("http://h:99999/")
@example("http://h/\r\nX: y")
@example("http://[")
@example("http://1.2.3.4\u2100/")
def test_any_text_is_an_url_that_is_safe_to_send_or_none(text: str):
    try:
        url = parse_url(text)
    except InvalidUrl:
        return
    assert url.scheme in ("http", "https")
    assert 0 < url.port < 65536
    assert url.target.startswith("/")
    sent = url.host + url.target
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent
    assert parse_url(url.origin + url.target) == url


WITH_FAULTS = [
    "/x",
    "ftp://h/",
    "//h/",
    "http:///x",
    "http://u@h/",
    "http://h/#x",
    "http://h:0/",
    "file:///x",
    "http://h/\\x",
    "http://h:x/",
]


@pytest.mark.parametrize(
    "text",
    [
        "http://ho\tst/",
        "http://host/a\nb",
        " http://host/",
        "http://host/a b",
        "",
        "http://h/a b",
        "http://h/" + "x" * LONGEST_URL,
        *WITH_FAULTS,
    ],
)
def test_what_is_no_url_is_refused(text: str):
    with pytest.raises(InvalidUrl):
        parse_url(text)


def test_an_url_is_taken_apart():
    assert parse_url("HTTP://Host/a?b=c") == Url("http", "host", 80, "/a?b=c")
    assert parse_url("https://h").origin == "https://h:443"


@given(st.text(max_size=60) | st.text("bytes 0123456789-/*", max_size=60).map("bytes ".__add__))
def test_any_text_is_a_range_that_can_be_or_none(text: str):
    try:
        first, last, size = parse_content_range(text)
    except BadAnswer:
        return
    assert 0 <= first <= last < size < 10**19


@given(st.tuples(st.integers(0, 10**18), st.integers(0, 10**18), st.integers(1, 10**18)).map(sorted))
def test_a_range_is_read_as_it_is_written(numbers: list[int]):
    first, last, size = numbers[0], numbers[1], numbers[2] + 1
    assert parse_content_range(f"bytes {first}-{last}/{size}") == (first, last, size)


@pytest.mark.parametrize(
    "text",
    ["", "bytes */10", "bytes 0-9/*", "bytes 5-4/10", "bytes 0-10/10", "bits 0-1/2", "bytes 0-1/2 ", "bytes ٠-1/2"],
)
def test_what_is_no_range_is_refused(text: str):
    with pytest.raises(BadAnswer):
        parse_content_range(text)
