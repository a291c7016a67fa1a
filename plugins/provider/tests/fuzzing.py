"""Requests that nobody should send, made from the documented paths and from nothing; for tests and for the soak.

``python -m plugins.provider.tests.fuzzing URL [COUNT]`` sends so many to a provider.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from hypothesis import HealthCheck, Verbosity, given, settings
from hypothesis import strategies as st

OPENAPI = Path(__file__).parents[3] / "docs/openapi.json"
ANSWERED_SECONDS = 20.0
_TEXT = st.text(max_size=20)
_NAMES = st.sampled_from(
    ["stable", "x86_64", "aarch64", "kernel", "rootfs", "manifest.json", "1.root.json", "timestamp.json", "a" * 64]
)
_SEGMENTS = st.one_of(
    _NAMES,
    _NAMES,
    _NAMES,
    _TEXT.map(lambda text: quote(text, safe="")),
    st.sampled_from(["..", "%2e%2e", "%00", "%2f", "%252e", "", ".", "%ff", "\\", "a" * 300, "%", "\u00e9"]),
    st.binary(max_size=12).map(lambda data: data.decode("latin-1")),
)
_METHODS = st.one_of(st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "CONNECT", "get", ""]), _TEXT)
_TAGS = st.sampled_from(['"x"', 'W/"x"', "*", '"', ",", '"x", "y"', "Sat, 28 Nov 2026 05:00:00 GMT"])
_NUMBERS = st.one_of(st.integers(-5, 10**7), st.integers(0, 10**30)).map(str)
_RANGES = st.lists(
    st.one_of(
        st.tuples(_NUMBERS, _NUMBERS).map("-".join), _NUMBERS.map("-{}".format), _NUMBERS.map("{}-".format), _TEXT
    ),
    max_size=30,
).map(lambda specs: "bytes=" + ",".join(specs))
_FIELDS = st.lists(
    st.one_of(
        st.tuples(st.just("Range"), _RANGES),
        st.tuples(st.just("Range"), st.sampled_from(["bytes=0-0", "bytes=-1", "bytes=0-9,5000-", "bytes=9-0"])),
        st.tuples(st.sampled_from(["If-Range", "If-Match", "If-None-Match"]), _TAGS),
        st.tuples(st.sampled_from(["If-Range", "Accept", "User-Agent", "Cookie"]), _TAGS),
        st.tuples(st.sampled_from(["Content-Length", "Expect", "Upgrade", "Host", "Connection"]), _TEXT),
        st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "identity", "chunked, gzip"])),
        st.tuples(_TEXT, _TEXT),
        st.just(("X-Long", "x" * 20_000)),
    ),
    max_size=3,
)
_VERSIONS = st.sampled_from(["HTTP/1.1"] * 5 + ["HTTP/1.0", "HTTP/2.0", "HTTP/9", "", "http/1.1"])


_SOUND_SEGMENTS = st.one_of(
    _NAMES, _NAMES, _TEXT.map(lambda text: quote(text, safe="")), st.sampled_from(["..", "%2e%2e", "%252e", "."])
)
_SOUND_FIELDS = st.lists(
    st.one_of(
        st.tuples(st.just("Range"), _RANGES.filter(str.isascii).filter(str.isprintable)),
        st.tuples(st.just("Range"), st.sampled_from(["bytes=0-0", "bytes=-1", "bytes=0-9,5000-", "bytes=9-0"])),
        st.tuples(st.sampled_from(["If-Range", "If-Match", "If-None-Match"]), _TAGS),
    ),
    max_size=3,
)


_THERE = {
    "channel": "stable",
    "arch": "x86_64",
    "name": "kernel",
    "target": "rootfs",
    "digest": "a" * 64,
    "file": "timestamp.json",
}


def _paths(segments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """The documented ones, with what is there, or one of `segments`, for what is in braces."""
    documented = st.sampled_from(sorted(json.loads(OPENAPI.read_text())["paths"]))
    given = st.one_of(st.none(), st.none(), st.none(), segments)
    return documented.flatmap(
        lambda path: st.lists(given, min_size=4, max_size=4).map(
            lambda parts: re.sub(r"\{(.*?)\}", lambda match: parts.pop() or _THERE[match[1]], path)
        )
    )


def _head(parts: tuple[Any, ...]) -> bytes:
    method, path, version, fields, line_break, host = parts
    lines = [f"{method} {path} {version}", *(["Host: x"] if host else []), *(f"{a}: {b}" for a, b in fields)]
    return str(line_break).join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def requests() -> st.SearchStrategy[bytes]:
    """What a client sends on one connection: heads that are sound, heads that are not, and what is none."""
    sound = st.tuples(
        st.sampled_from(["GET", "GET", "HEAD"]),
        _paths(_SOUND_SEGMENTS),
        st.sampled_from(["HTTP/1.1", "HTTP/1.0"]),
        _SOUND_FIELDS,
        st.just("\r\n"),
        st.just(True),
    ).map(_head)
    broken = st.tuples(
        _METHODS,
        st.one_of(_paths(_SEGMENTS), st.lists(_SEGMENTS, max_size=6).map("/".join), _TEXT),
        _VERSIONS,
        _FIELDS,
        st.sampled_from(["\r\n"] * 5 + ["\n", "\r"]),
        st.sampled_from([True] * 5 + [False]),
    ).map(_head)
    one = st.one_of(sound, sound, broken, st.binary(max_size=200))
    return st.lists(one, min_size=1, max_size=3).map(b"".join)


_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
EXPECTED = frozenset({200, 206, 304, 400, 404, 405, 408, 412, 413, 416, 429, 431, 501, 503})


def check_answered(host: str, port: int, data: bytes) -> None:
    """Send `data` and nothing more; whatever comes back is an answer that the documentation knows, and then the end."""
    said = b""
    with socket.create_connection((host, port), timeout=ANSWERED_SECONDS) as connection:
        # The server may have answered and gone already, which a socket tells in several ways.
        with contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(2**20):
                said = (said + piece)[: 2**16]
    if said:
        status = _STATUS.match(said)
        assert status is not None, f"{data!r} was answered with {said[:200]!r}"
        assert int(status[1]) in EXPECTED, f"{data!r} was answered with {said[:200]!r}"


def fuzz(host: str, port: int, count: int, between: Callable[[], None] = lambda: None) -> None:
    """Send `count` requests, each on a connection of its own; `between` is called after each hundred.

    Raises :exc:`AssertionError` for an answer that there should not be, with the shortest request that gets one.
    """
    sent = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(requests())
    def send(data: bytes) -> None:
        nonlocal sent
        check_answered(host, port, data)
        sent += 1
        if sent % 100 == 0:
            between()

    send()


if __name__ == "__main__":
    where = urlsplit(sys.argv[1])
    fuzz(where.hostname or "127.0.0.1", where.port or 80, int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
