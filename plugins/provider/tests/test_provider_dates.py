"""Dates and conditions as RFC 9110 has them."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_provider.httpd.conditions import modified_since, range_holds
from plasm_provider.httpd.dates import http_date, parse_http_date

NOW = 1_795_842_000.0
EXAMPLE = 784111777


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_forms_are_read(text: str) -> None:
    assert parse_http_date(text, NOW) == EXAMPLE


@given(st.integers(0, 253402300799))
def test_what_is_written_is_read_again(seconds: int) -> None:
    assert http_date(seconds) == formatdate(seconds, usegmt=True)
    assert parse_http_date(http_date(seconds), NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 31 Feb 2026 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_http_date(text, NOW) is None
    assert modified_since(text, EXAMPLE, NOW)


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_none(text: str) -> None:
    assert parse_http_date(text, NOW) is None or isinstance(parse_http_date(text, NOW), int)


def test_a_year_of_two_digits_is_never_far_ahead() -> None:
    near = parse_http_date("Sunday, 06-Nov-66 08:49:37 GMT", NOW)
    far = parse_http_date("Sunday, 06-Nov-86 08:49:37 GMT", NOW)
    assert (near or 0) > NOW
    assert (far or NOW) < NOW


def test_a_range_goes_on_with_the_very_date_once_its_second_is_over() -> None:
    date = http_date(EXAMPLE)
    assert range_holds(date, '"x"', EXAMPLE, EXAMPLE + 1)
    assert not range_holds(date, '"x"', EXAMPLE, EXAMPLE + 0.5)
    assert not range_holds(date, '"x"', EXAMPLE - 1, NOW)
    assert not range_holds(date, '"x"', EXAMPLE + 1, NOW)
    assert not range_holds(date, '"x"', None, NOW)
