"""Targets of requests: decoded once, strictly, and never normalized."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_provider.httpd.targets import BadTarget, segments


@given(st.binary(max_size=80))
def test_any_bytes_are_segments_or_refused(target: bytes) -> None:
    try:
        found = segments(target)
    except BadTarget:
        return
    assert found
    assert not any("\0" in segment or "/" in segment for segment in found)


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=12), min_size=1))
def test_what_was_escaped_comes_back(parts: list[str]) -> None:
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    assert segments(path.encode()) == (tuple(filter(None, parts)) or ("",))


def test_empty_segments_are_left_out() -> None:
    assert segments(b"//stable///x86_64/kernel/") == ("stable", "x86_64", "kernel")
    assert segments(b"///") == ("",)


def test_an_escape_is_decoded_once() -> None:
    assert segments(b"/%252e%252e/kernel") == ("%2e%2e", "kernel")


def test_dots_are_names_like_others() -> None:
    assert segments(b"/../%2e%2e/x/./y") == ("..", "..", "x", ".", "y")


def test_a_query_is_passed_over() -> None:
    assert segments(b"/health?verbose=1/../..") == ("health",)


def test_the_absolute_form_is_taken() -> None:
    assert segments(b"http://host:8080/stable/x86_64/kernel") == ("stable", "x86_64", "kernel")
    assert segments(b"HTTP://host") == ("",)


@pytest.mark.parametrize(
    "target",
    [b"", b"kernel", b"*", b"/%", b"/%2", b"/%zz", b"/%00", b"/a%2fb", b"/%ff", b"/%c0%ae", b"/a b", b"/a\\b", b"/#x"],
)
def test_what_is_no_path_is_refused(target: bytes) -> None:
    with pytest.raises(BadTarget):
        segments(target)
