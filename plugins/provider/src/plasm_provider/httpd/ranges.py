"""The field ``Range`` in bytes (RFC 9110, section 14)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_RANGES: Final = 16
"""Parts of one answer. Whoever wants more of them asks for an attack, not for a file (RFC 9110, section 14.2)."""
GAP_BYTES: Final = 256
"""Ranges that are no farther apart become one: the head of another part would be about as long."""

_MOST_DIGITS: Final = 19
"""Of a number that fits into 64 bits. A request may have any number of them (RFC 9110, section 14.1.2)."""
_SPEC: Final = re.compile(r"[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.ASCII)


class Span(NamedTuple):
    """`length` bytes from `offset` on."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


class NotSatisfiable(ValueError):
    """None of the ranges lies within the content, or they are too many (RFC 9110, section 15.5.17)."""


def spans(field: str, size: int) -> tuple[Span, ...] | None:
    """What ``Range: field`` asks for of `size` bytes; ``None`` where it is to be ignored, being of another unit or
    malformed.

    Ranges that overlap or nearly touch are put together. Raises :exc:`NotSatisfiable`.
    """
    unit, equals, text = field.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    asked: list[Span] = []
    for spec in text.split(","):
        if not spec.strip(" \t"):
            continue  # an empty element of a list means nothing (RFC 9110, section 5.6.1.2)
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if first is None:
            length = min(_number(suffix), size)
            asked.append(Span(size - length, length))
            continue
        start = _number(first)
        if last and _is_less(last, first):
            return None
        end = min(_number(last) + 1, size) if last else size
        asked.append(Span(start, end - start))
    if not asked:
        return None
    found = _apart([span for span in asked if span.length > 0])
    if not found:
        raise NotSatisfiable("no range lies within the content")
    if len(found) > MOST_RANGES:
        raise NotSatisfiable(f"more than {MOST_RANGES} ranges that lie apart")
    return found


def _number(digits: str) -> int:
    """No content is as long as what has more digits than these: how much longer makes no difference."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def _is_less(one: str, other: str) -> bool:
    one, other = one.lstrip("0"), other.lstrip("0")
    return (len(one), one) < (len(other), other)


def _apart(asked: list[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for span in sorted(asked):
        if joined and span.offset - joined[-1].end <= GAP_BYTES:
            before = joined[-1]
            joined[-1] = Span(before.offset, max(before.end, span.end) - before.offset)
        else:
            joined.append(span)
    # In the order in which they were asked for, where nothing had to be put together (RFC 9110, section 15.3.7.2).
    return tuple(asked if len(joined) == len(asked) else joined)
