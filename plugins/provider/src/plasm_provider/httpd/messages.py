"""Requests and answers, as they pass between the server and whoever answers for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from plasm_provider.httpd.ranges import Span

METHODS: Final = ("GET", "HEAD")

REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    412: "Precondition Failed",
    413: "Content Too Large",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The head of a request whose target was understood."""

    method: str
    path: tuple[str, ...]
    """Its segments, decoded; not normalized."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; values of a repeated field are joined with commas (RFC 9110, section 5.3)."""


@dataclass(frozen=True)
class FileBody:
    """Parts of an open file, with bytes before, between and behind them.

    Whoever sends it closes `descriptor`.
    """

    descriptor: int
    parts: tuple[bytes | Span, ...]
    unchanged: Callable[[int], bool]
    """Whether the file behind the descriptor is still what the answer's fields say; asked before each slice."""

    def __len__(self) -> int:
        return sum(part.length if isinstance(part, Span) else len(part) for part in self.parts)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True)
class Response:
    """An answer. ``Content-Length``, ``Date`` and ``Connection`` are the server's to add."""

    status: int
    body: bytes | FileBody = b""
    fields: Fields = ()


Handler = Callable[[Request], Response]
"""Answers a request at once: what takes longer than opening a file has been done before. Called on one thread."""


def refusal(status: int, reason: str, fields: Fields = ()) -> Response:
    """``{"error": reason}`` with `status`."""
    content = msgspec.json.encode({"error": reason})
    return Response(status, content, (("Content-Type", "application/json"), ("Cache-Control", "no-store"), *fields))
