"""Conditional requests by entity tags (RFC 9110, section 13). No representation here has a date of modification."""

from __future__ import annotations

import re
from typing import Final

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


def range_holds(field: str, etag: str) -> bool:
    """Whether ``If-Range: field`` lets the ranges be answered: it is `etag`, and not a date (section 13.1.5)."""
    return field.strip(" \t") == etag
