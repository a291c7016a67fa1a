"""Dates of HTTP, in seconds since the epoch (RFC 9110, section 5.6.7)."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME: Final = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS: Final = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    # RFC 850, and C's asctime(): no longer written, and still to be read.
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-(?P<month>[A-Z][a-z]{{2}})-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{2}} (?P<month>[A-Z][a-z]{{2}}) (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)
_FAR_AHEAD_YEARS: Final = 50


def http_date(seconds: int) -> str:
    """``"Sat, 28 Nov 2026 05:00:00 GMT"``"""
    at = time.gmtime(seconds)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04} {clock} GMT"


def parse_http_date(text: str, now: float) -> int | None:
    """What `text` says in any of the three forms; ``None`` for what is no date.

    A year of two digits that would be more than 50 years after `now` is of the century before.
    """
    match = next(filter(None, (form.fullmatch(text.strip(" \t")) for form in _FORMS)), None)
    if match is None or match["month"] not in _MONTHS:
        return None
    parts: Mapping[str, int] = {name: int(match[name]) for name in ("day", "year", "hour", "minute", "second")}
    year = parts["year"]
    if len(match["year"]) == 2:
        this_year = time.gmtime(now).tm_year
        year += this_year - this_year % 100
        if year > this_year + _FAR_AHEAD_YEARS:
            year -= 100
    month = _MONTHS.index(match["month"]) + 1
    # A leap second is the one after it.
    if not (parts["hour"] < 24 and parts["minute"] < 60 and parts["second"] <= 60 and year >= 1):
        return None
    if not 1 <= parts["day"] <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, parts["day"], parts["hour"], parts["minute"], parts["second"], 0, 0, 0))
