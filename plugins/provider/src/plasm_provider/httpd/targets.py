"""The target of a request, taken apart (RFC 9112, section 3.2, and RFC 3986, section 3.3)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

_PATH: Final = re.compile(rb"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*)+")
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


class BadTarget(ValueError):
    """The target cannot be that of a request for a file."""


def segments(target: bytes) -> tuple[str, ...]:
    """The segments of the path in `target`, percent-decoded once; ``("",)`` for ``/``. A query is passed over.

    Empty segments are left out, as ``${base}/${path}`` in boot scripts makes them: no name here is empty, so that
    nothing else can be meant. Nothing more is normalized: ``..`` stays a segment of that name, which no file has.
    Raises :exc:`BadTarget` for bad escapes, for what is not UTF-8, and for a NUL or a slash inside a segment.
    """
    path = target.partition(b"?")[0]
    if not path.startswith(b"/"):
        # A server must take the absolute form too (RFC 9112, section 3.2.2).
        authority = _ABSOLUTE.match(path)
        if authority is None:
            raise BadTarget("the target is not a path")
        path = path[authority.end() :] or b"/"
    if not _PATH.fullmatch(path):
        raise BadTarget("the path holds a character that must be escaped, or a broken escape")
    return tuple(_decoded(segment) for segment in path.split(b"/") if segment) or ("",)


def _decoded(segment: bytes) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise BadTarget("the path is not UTF-8") from None
    if "\0" in text or "/" in text:
        raise BadTarget("a segment of the path holds a NUL or a slash")
    return text
