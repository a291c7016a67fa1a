"""An HTTP client whose deadlines and caps hold against any server."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plasm_fetching.http import (
    CONNECT_SECONDS,
    LONGEST_HEADERS,
    MOST_HEADERS,
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

from .talking import Server, answer, head, one_after_another, serving, silent, without_end

SHORT = 0.3
"""A deadline that ends; what it is held against does not."""
LONG = 60.0
ENDLESS = "a server that never comes to an end"


def ask(connection: Connection, *, deadline: float = LONG, stall: float = LONG) -> bytes:
    """The body of an answer over `connection`, which is kept."""
    response = connection.get("/file", deadline=time.monotonic() + deadline, stall=stall)
    body = b""
    buffer = memoryview(bytearray(1000))
    while count := response.read_into(buffer):
        body += buffer[:count]
    response.finish()
    return body


# --- URLs -----------------------------------------------------------------------------------------------------------

HOSTS = st.sampled_from(["example.org", "127.0.0.1", "[::1]", "[fe80::1%eth0]", "a-b.c_d"])
TARGETS = st.from_regex(r"/[!\"$-\[\]-~]*", fullmatch=True).filter(lambda text: "#" not in text and "?" not in text)


@given(
    scheme=st.sampled_from(["http", "https", "HTTP"]),
    host=HOSTS,
    port=st.none() | st.integers(1, 65535),
    target=st.just("") | TARGETS,
    query=st.none() | TARGETS,
)
def test_an_url_is_taken_apart_and_nothing_of_it_is_lost(
    scheme: str, host: str, port: int | None, target: str, query: str | None
) -> None:
    where = host if port is None else f"{host}:{port}"
    wanted = (target or "/") + (f"?{query}" if query else "")
    url = parse_url(f"{scheme}://{where}{target}" + (f"?{query}" if query else ""))
    usual = {"http": 80, "https": 443}[scheme.lower()]
    assert url == Url(scheme.lower(), host.strip("[]"), usual if port is None else port, wanted)
    assert parse_url(url.origin + url.target) == url


@given(st.text(max_size=60) | st.text("htps:/@#?[]%.\\ \t\n1:", max_size=20).map("http://h".__add__))
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    try:
        url = parse_url(text)
    except InvalidUrl as error:
        assert str(error).isprintable()
    else:
        assert re.fullmatch("[!-~]+", text)
        assert parse_url(url.origin + url.target) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/stable/x86_64/kernel",
        "//host/path",
        "ftp://host/path",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user@host/",
        "http://user:password@host/",
        "http://@host/",
        "http://host/#fragment",
        "http://host:0/",
        "http://host:65536/",
        "http://host:-1/",
        "http://host:port/",
        "http://host/a b",
        "http://host/a\r\nHost: other",
        "http://ho\tst/",
        "http://host/a\nb",
        " http://host/",
        "http://host/ä",
        "http://höst/",
        "http://host\\@other/",
        "http://host/\\",
        "http://[::1/",
        "http://[nonsense]/",
        "http://ho st/",
        "http://host/" + "x" * 3000,
    ],
)
def test_what_could_be_meant_otherwise_is_no_url(url: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(url)


# --- ranges ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**60), st.integers(0, 2**60), st.integers(1, 2**60))
def test_a_content_range_says_which_bytes_of_how_many(first: int, more: int, after: int) -> None:
    last, size = first + more, first + more + after
    assert parse_content_range(f"bytes {first}-{last}/{size}") == (first, last, size)


@given(
    st.text(max_size=40)
    | st.from_regex(r"bytes [0-9*]{0,22}-?[0-9]{0,3}/[0-9*]{0,3}", fullmatch=True)
    | st.from_regex(r"bytes \d{1,3}-\d{1,3}/\d{1,3}", fullmatch=True)
)
def test_what_cannot_be_a_range_is_a_bad_answer(text: str) -> None:
    try:
        first, last, size = parse_content_range(text)
    except BadAnswer:
        return
    assert text == f"bytes {text[6:].partition('-')[0]}-{text.partition('-')[2].partition('/')[0]}/{text.rpartition('/')[2]}"
    assert text.isascii()
    assert 0 <= first <= last < size


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (answer(b"body"), b"body"),
        (answer(b""), b""),
        (head("Connection: close") + b"until it ends", b"until it ends"),
        (head("Transfer-Encoding: chunked") + b"4\r\nin c\r\n5;x=y\r\nhunks\r\n0\r\nTrailer: x\r\n\r\n", b"in chunks"),
        (head(status="100 Continue") + answer(b"body"), b"body"),
        (b"HTTP/1.0 200 OK\r\n\r\nof old", b"of old"),
    ],
    ids=["length", "empty", "closed", "chunked", "continued", "1.0"],
)
def test_a_body_is_read_to_its_end_however_that_is_told(said: bytes, body: bytes) -> None:
    with serving(said) as server:
        assert read(f"{server.origin}/file", max_bytes=100) == body


def test_what_is_asked_is_said_once_and_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    with serving(answer(b"")) as server:
        read(f"{server.origin}/a/b?c=d", max_bytes=10)
        lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a/b?c=d HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert "Accept-Encoding: identity" in lines
    assert len(server.requests) == 1


def test_it_speaks_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("Python was built without IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    with serving(answer(b"six"), family=socket.AF_INET6) as server:
        assert read(f"{server.origin}/", max_bytes=10) == b"six"
        assert f"Host: [::1]:{server.port}".encode() in server.requests[0]


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        ("404 Not Found", Absent),
        ("410 Gone", Absent),
        ("429 Too Many Requests", Busy),
        ("500 Oops", Busy),
        ("503 Later", Busy),
        ("403 Forbidden", Denied),
        ("206 Partial Content", Denied),
        ("304 Not Modified", Denied),
        ("101 Switching Protocols", Denied),
    ],
)
def test_each_status_has_its_meaning(status: str, raised: type[FetchError]) -> None:
    with serving(answer(b"", status=status)) as server, pytest.raises(raised) as caught:
        read(f"{server.origin}/", max_bytes=10)
    assert caught.type is raised


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with serving(answer(b"not yours")) as other:
        said = answer(b"", f"Location: {other.origin}/", status=f"{status} Elsewhere")
        with serving(said) as server, pytest.raises(Denied, match="redirects elsewhere"):
            read(f"{server.origin}/", max_bytes=10)
        assert (len(server.requests), other.connections) == (1, 0)


# --- caps -----------------------------------------------------------------------------------------------------------


def test_the_cap_is_what_may_come_inclusive() -> None:
    with serving(answer(b"12345")) as server:
        assert read(f"{server.origin}/", max_bytes=5) == b"12345"
        with pytest.raises(TooMuch):
            read(f"{server.origin}/", max_bytes=4)
        with pytest.raises(TooMuch):
            read(f"{server.origin}/", max_bytes=0)


def test_a_length_above_the_cap_is_refused_before_anything_of_it_is_read() -> None:
    with serving(without_end(answer(b"", length=10**18), b"x" * 1000)) as server, pytest.raises(TooMuch):
        read(f"{server.origin}/", max_bytes=1000)


@pytest.mark.parametrize(
    ("before", "repeated"),
    [
        (head("Connection: close"), b"x" * 1000),
        (head("Transfer-Encoding: chunked"), b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        (head("Transfer-Encoding: chunked") + b"ffffffffffffffff\r\n", b"x" * 1000),
    ],
    ids=["closed", "chunked", "chunk"],
)
def test_a_body_without_end_is_cut_off_at_the_cap(before: bytes, repeated: bytes) -> None:
    with serving(without_end(before, repeated)) as server, pytest.raises(TooMuch):
        read(f"{server.origin}/", max_bytes=100_000, timeout=LONG)


@pytest.mark.parametrize(
    "length", ["-1", "1e3", "0x10", "٣", "12, 13", "9" * 20, "1\r\nContent-Length: 2", "five"], ids=ascii
)
def test_a_length_that_is_none_is_a_bad_answer(length: str) -> None:
    said = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nbody".encode()
    with serving(said) as server, pytest.raises(BadAnswer):
        read(f"{server.origin}/", max_bytes=10)


@pytest.mark.parametrize("count", [MOST_HEADERS + 1, 99, 200, 5000])
def test_more_header_fields_than_anyone_needs_are_a_bad_answer(count: int) -> None:
    said = answer(b"body", *(f"X-{number}: y" for number in range(count)))
    with serving(said) as server, pytest.raises(BadAnswer):
        read(f"{server.origin}/", max_bytes=10)


@pytest.mark.parametrize("size", [LONGEST_HEADERS + 1, 2**17])
def test_a_header_field_that_is_longer_than_anyone_needs_is_a_bad_answer(size: int) -> None:
    with serving(answer(b"body", "X: " + "y" * size)) as server, pytest.raises(BadAnswer):
        read(f"{server.origin}/", max_bytes=10)


@pytest.mark.parametrize(
    "repeated", [b"X: y\r\n", b"y" * 1000, b" folded\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=ascii
)
@pytest.mark.parametrize("before", [b"HTTP/1.1 200 OK\r\n", b""], ids=["head", "nothing"])
def test_a_head_without_end_ends(before: bytes, repeated: bytes) -> None:
    with serving(without_end(before, repeated)) as server, pytest.raises((BadAnswer, Unreachable)):
        read(f"{server.origin}/", max_bytes=10, timeout=SHORT)


# --- deadlines ------------------------------------------------------------------------------------------------------

DRIPS = {
    "status": (b"HTTP/1.1 2", b"0"),
    "fields": (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "body": (answer(b"", length=10**6), b"z"),
    "unbounded body": (head("Connection: close"), b"z"),
    "chunk size": (head("Transfer-Encoding: chunked"), b"0"),
    "chunk": (head("Transfer-Encoding: chunked") + b"fffff\r\n", b"z"),
    "trailer": (head("Transfer-Encoding: chunked") + b"0\r\nX: ", b"y"),
}


@pytest.mark.parametrize("where", DRIPS)
def test_a_server_that_drips_byte_by_byte_gets_no_more_time_than_another(where: str) -> None:
    with serving(without_end(*DRIPS[where], pause=0.01)) as server, pytest.raises(Unreachable, match="timed out"):
        read(f"{server.origin}/", max_bytes=10**6, timeout=SHORT)


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1", head("Content-Length: 5"), answer(b"1234", length=5)], ids=ascii)
def test_silence_ends_at_the_deadline(before: bytes) -> None:
    def talk(server: Server, connection: socket.socket) -> None:
        server.request(connection)
        connection.sendall(before)
        connection.recv(1)

    with serving(talk) as server, pytest.raises(Unreachable, match="timed out"):
        read(f"{server.origin}/", max_bytes=10, timeout=SHORT)


def test_silence_is_heard_for_no_longer_than_a_stall_whatever_the_deadline() -> None:
    with serving(silent) as server, pytest.raises(Unreachable, match="timed out"):
        ask(Connection(parse_url(server.origin)), stall=SHORT)


def test_a_name_that_takes_for_ever_to_resolve_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def resolve(host: str, *arguments: object, **keywords: object) -> list[object]:
        released.wait(100)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        with pytest.raises(Unreachable, match="timed out"):
            read("http://name.invalid/", max_bytes=10, timeout=SHORT)
    finally:
        released.set()


def test_a_deadline_that_has_passed_asks_nobody() -> None:
    with serving(answer(b"")) as server:
        with pytest.raises(Unreachable, match="timed out"):
            read(server.origin, max_bytes=10, timeout=0)
        assert server.requests == []


# --- nonsense -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n",
        answer(b"bod", length=4),
        head("Transfer-Encoding: chunked") + b"4\r\nbod",
        head("Transfer-Encoding: chunked") + b"\r\n",
        head("Transfer-Encoding: chunked") + b"body\r\n",
        head("Transfer-Encoding: chunked") + b"-4\r\nbody\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"4" * 70_000,
    ],
    ids=lambda said: ascii(said[:60]),
)
def test_nonsense_and_half_answers_are_failures_told_in_one_line(said: bytes) -> None:
    with serving(said) as server, pytest.raises((BadAnswer, Unreachable)) as caught:
        read(f"{server.origin}/", max_bytes=10)
    assert str(caught.value).isprintable()


@pytest.fixture(scope="module")
def saying() -> Iterator[Callable[[bytes], str]]:
    """The URL of a server that gives these bytes in answer to the next request."""
    said = [b""]

    def talk(server: Server, connection: socket.socket) -> None:
        server.request(connection)
        connection.sendall(said[0])

    with serving(talk) as server:

        def saying(data: bytes) -> str:
            said[0] = data
            return f"{server.origin}/file"

        yield saying


PIECES = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n", b"3\r\nabc\r\n", b"0"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(PIECES | st.binary(max_size=20), max_size=8).map(b"".join))
def test_whatever_is_said_gives_a_body_within_the_cap_or_a_failure(saying: Callable[[bytes], str], data: bytes) -> None:
    try:
        body = read(saying(data), max_bytes=5)
    except FetchError as error:
        assert str(error).isprintable()
    else:
        assert len(body) <= 5


# --- kept connections -----------------------------------------------------------------------------------------------


def test_a_connection_is_kept_between_requests() -> None:
    with serving(one_after_another([answer(b"first"), answer(b"second")])) as server:
        connection = Connection(parse_url(server.origin))
        assert [ask(connection), ask(connection)] == [b"first", b"second"]
        connection.close()
        assert server.connections == 1


def test_a_kept_connection_that_the_server_closed_meanwhile_is_opened_anew() -> None:
    with serving(one_after_another([answer(b"once")])) as server:
        connection = Connection(parse_url(server.origin))
        assert [ask(connection) for _ in range(3)] == [b"once"] * 3
        connection.close()
        assert server.connections == 3


def test_it_is_opened_anew_once_and_no_more() -> None:
    def talk(server: Server, connection: socket.socket) -> None:
        server.request(connection)
        if server.connections == 1:
            connection.sendall(answer(b"only"))

    with serving(talk) as server:
        connection = Connection(parse_url(server.origin))
        ask(connection)
        with pytest.raises(Unreachable):
            ask(connection)
        assert server.connections == 2


def test_a_connection_whose_answer_was_not_read_out_is_not_used_again() -> None:
    with serving(one_after_another([answer(b"left unread"), answer(b"left unread")])) as server:
        connection = Connection(parse_url(server.origin))
        for _ in range(2):
            connection.get("/", deadline=time.monotonic() + LONG, stall=LONG).finish()
        connection.close()
        assert server.connections == 2


# --- aborting -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unanswered() -> Iterator[str]:
    """The origin of a server that takes no connection: its queue is full, and the system lets who calls wait."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"


def aborted(connection: Connection, when: Callable[[], bool]) -> FetchError | None:
    """How asking over `connection` ends that is aborted from another thread; ``None`` where it does not, in time."""
    ended: list[FetchError] = []

    def attempt() -> None:
        try:
            ask(connection)
        except FetchError as error:
            ended.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    while not when():
        time.sleep(0.001)
    connection.abort()
    thread.join(CONNECT_SECONDS / 2)
    return ended[0] if ended else None


def test_what_waits_for_a_head_is_ended_from_another_thread() -> None:
    with serving(silent) as server:
        assert isinstance(aborted(Connection(parse_url(server.origin)), lambda: bool(server.requests)), Unreachable)


def test_what_waits_for_a_body_is_ended_from_another_thread() -> None:
    reached = threading.Event()

    def talk(server: Server, connection: socket.socket) -> None:
        server.request(connection)
        connection.sendall(answer(b"part", length=100))
        reached.set()
        connection.recv(1)

    with serving(talk) as server:
        assert isinstance(aborted(Connection(parse_url(server.origin)), reached.is_set), Unreachable)


def test_what_waits_for_a_connection_is_ended_from_another_thread(unanswered: str) -> None:
    began = time.monotonic()
    connection = Connection(parse_url(unanswered))
    assert isinstance(aborted(connection, lambda: time.monotonic() > began + 0.2), Unreachable)


def test_an_aborted_connection_is_of_no_more_use() -> None:
    with serving(one_after_another([answer(b"first"), answer(b"second")])) as server:
        connection = Connection(parse_url(server.origin))
        ask(connection)
        connection.abort()
        with pytest.raises(Unreachable):
            ask(connection)
        connection.close()
        assert server.connections == 1


# --- addresses ------------------------------------------------------------------------------------------------------


def test_an_address_that_is_not_allowed_is_not_connected_to() -> None:
    asked = []

    def allows(ip: str) -> bool:
        asked.append(ip)
        return False

    with serving(answer(b"")) as server:
        with pytest.raises(AddressForbidden):
            read(server.origin, max_bytes=10, allows=allows)
        assert (asked, server.connections) == (["127.0.0.1"], 0)


def test_of_a_name_the_addresses_that_are_allowed_are_tried() -> None:
    with serving(answer(b"by name")) as server:
        url = f"http://localhost:{server.port}/"
        assert read(url, max_bytes=10, allows=lambda ip: ip == "127.0.0.1") == b"by name"
        with pytest.raises(AddressForbidden):
            read(url, max_bytes=10, allows=lambda ip: ip not in ("127.0.0.1", "::1"))


@pytest.mark.parametrize("host", ["name.invalid", "a..b", "-", "%", "x" * 250])
def test_a_host_that_nobody_knows_is_told_by_its_name(host: str) -> None:
    with pytest.raises(Unreachable, match="cannot be resolved"):
        read(f"http://{host}/", max_bytes=10)
