"""One file or document, and the answer that a request for it gets: conditions, ranges and digests."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from plasm_provider.httpd.conditions import matches, modified_since, range_holds, unmodified_since
from plasm_provider.httpd.dates import http_date
from plasm_provider.httpd.messages import Fields, FileBody, Request, Response, refusal
from plasm_provider.httpd.ranges import NotSatisfiable, Span, spans

REVALIDATE: Final = "no-cache"
"""May be kept, and is asked for again each time."""
FOREVER: Final = "public, max-age=31536000, immutable"
"""For a URL that holds the digest or the version of what it leads to."""


@dataclass(frozen=True, kw_only=True)
class Representation:
    """What is known of the bytes behind a URL before any of them is sent."""

    size: int
    sha256: str
    """64 hexadecimal digits; the entity tag is made of them."""
    media_type: str = "application/octet-stream"
    caching: str = REVALIDATE
    fields: Fields = ()
    modified: int | None = None
    """When it was signed, in seconds since the epoch and not in the future; ``None`` where that is not known."""

    @property
    def etag(self) -> str:
        return f'"{self.sha256}"'

    def _validators(self) -> Fields:
        dated: Fields = () if self.modified is None else (("Last-Modified", http_date(self.modified)),)
        return (("ETag", self.etag), *dated, ("Cache-Control", self.caching))

    def _content(self) -> Fields:
        digest = base64.b64encode(bytes.fromhex(self.sha256)).decode()
        return (*self._validators(), ("Repr-Digest", f"sha-256=:{digest}:"), *self.fields)

    def not_modified(self, request: Request) -> Response | None:
        """The answer where the request's conditions settle it without any content (RFC 9110, section 13.2.2)."""
        if not self._is_wanted(request):
            return refusal(412, "this is no longer what the request asks for", (("ETag", self.etag),))
        if self._is_had(request):
            return Response(304, fields=self._validators())
        return None

    def _is_wanted(self, request: Request) -> bool:
        tags, date = request.fields.get("if-match"), request.fields.get("if-unmodified-since")
        if tags is not None:
            return matches(tags, self.etag, weak=False)
        return date is None or self.modified is None or unmodified_since(date, self.modified, time.time())

    def _is_had(self, request: Request) -> bool:
        tags, date = request.fields.get("if-none-match"), request.fields.get("if-modified-since")
        if tags is not None:
            return matches(tags, self.etag, weak=True)
        return date is not None and self.modified is not None and not modified_since(date, self.modified, time.time())

    def document(self, request: Request, content: bytes) -> Response:
        """The answer where the bytes are at hand, and so few that ranges of them are not offered."""
        settled = self.not_modified(request)
        return settled or Response(200, content, (("Content-Type", self.media_type), *self._content()))

    def file(self, request: Request, descriptor: int, unchanged: Callable[[int], bool]) -> Response:
        """The answer from an open file, which is closed here or with the answer's body."""

        def body(*parts: bytes | Span) -> FileBody:
            return FileBody(descriptor, parts, unchanged)

        fields: Fields = (("Accept-Ranges", "bytes"), *self._content())
        typed: Fields = (("Content-Type", self.media_type), *fields)
        try:
            asked = self._asked(request)
        except NotSatisfiable as error:
            body().close()
            return refusal(416, str(error), (("Content-Range", f"bytes */{self.size}"), ("ETag", self.etag)))
        if asked is None:
            return Response(200, body(Span(0, self.size)), typed)
        if len(asked) == 1:
            return Response(206, body(asked[0]), (("Content-Range", self._content_range(asked[0])), *typed))
        boundary = secrets.token_hex(16)
        multipart = f"multipart/byteranges; boundary={boundary}"
        return Response(206, body(*self._parts(asked, boundary)), (("Content-Type", multipart), *fields))

    def _asked(self, request: Request) -> tuple[Span, ...] | None:
        field = request.fields.get("range")
        # Of HEAD no ranges are defined (RFC 9110, section 14.2).
        if field is None or request.method != "GET":
            return None
        condition = request.fields.get("if-range")
        if condition is not None and not range_holds(condition, self.etag, self.modified, time.time()):
            return None
        return spans(field, self.size)

    def _content_range(self, span: Span) -> str:
        return f"bytes {span.offset}-{span.end - 1}/{self.size}"

    def _parts(self, asked: tuple[Span, ...], boundary: str) -> tuple[bytes | Span, ...]:
        parts: list[bytes | Span] = []
        for span in asked:
            before = "\r\n" if parts else ""
            head = (
                f"{before}--{boundary}\r\nContent-Type: {self.media_type}\r\n"
                f"Content-Range: {self._content_range(span)}\r\n\r\n"
            )
            parts += (head.encode(), span)
        return (*parts, f"\r\n--{boundary}--\r\n".encode())
