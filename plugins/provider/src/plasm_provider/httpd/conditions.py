"""Conditional requests by entity tags and by dates of modification (RFC 9110, section 13)."""

from __future__ import annotations

import re
from typing import Final

from plasm_provider.httpd.dates import parse_http_date

_TAG: Final = re.compile(r'[ \t]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|\Z)')


def matches(field: str, etag: str, *, weak: bool) -> bool:
    """Whether `field`, a list of entity tags or ``*``, names `etag`, a strong one.

    With `weak`, as ``If-None-Match`` compares, a weak tag of the same text is the same. A malformed list names nothing.
    """
    if field.strip(" \t") == "*":
        return True
    position = 0
    while position < len(field):
        match = _TAG.match(field, position)
        if match is None:
            return False
        if match[2] == etag and (weak or match[1] is None):
            return True
        position = match.end()
    return False


def modified_since(field: str, modified: int, now: float) -> bool:
    """Whether what was `modified` then was so after the date `field`; also where that is no date (section 13.1.3)."""
    date = parse_http_date(field, now)
    return date is None or modified > date


def unmodified_since(field: str, modified: int, now: float) -> bool:
    """The reverse; also true where `field` is no date (section 13.1.4)."""
    date = parse_http_date(field, now)
    return date is None or modified <= date


def range_holds(field: str, etag: str, modified: int | None, now: float) -> bool:
    """Whether ``If-Range: field`` lets the ranges be answered: it is `etag`, or the very date (section 13.1.5).

    A date counts once the second is over that it names, since it could change twice in it (section 8.8.2.2).
    """
    if field.strip(" \t") == etag:
        return True
    return modified is not None and parse_http_date(field, now) == modified and now >= modified + 1
