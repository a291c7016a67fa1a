"""Range fields, held against what RFC 9110 says byte by byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_provider.httpd.ranges import GAP_BYTES, MOST_RANGES, NotSatisfiable, Span, spans

SIZE = 10_000

numbers = st.integers(0, 2 * SIZE)
specs = st.one_of(
    st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    numbers.map(lambda first: f"{first}-"),
    numbers.map(lambda length: f"-{length}"),
)


def asked_for(spec: str) -> set[int]:
    """The offsets that one range asks for."""
    first, _, last = spec.partition("-")
    if not first:
        return set(range(max(SIZE - int(last), 0), SIZE))
    return set(range(int(first), min(int(last) + 1, SIZE) if last else SIZE))


@given(st.lists(specs, min_size=1, max_size=6), st.sampled_from([",", ", ", " ,\t"]))
def test_every_byte_that_is_asked_for_is_answered_once(asked: list[str], comma: str) -> None:
    wanted = set().union(*map(asked_for, asked))
    if not wanted:
        with pytest.raises(NotSatisfiable):
            spans(f"bytes={comma.join(asked)}", SIZE)
        return
    found = spans(f"bytes={comma.join(asked)}", SIZE)
    assert found is not None
    answered = [offset for span in found for offset in range(span.offset, span.end)]
    assert wanted <= set(answered)
    assert len(answered) == len(set(answered))
    assert all(0 <= span.offset < span.end <= SIZE for span in found)


@given(st.lists(specs, min_size=2, max_size=6))
def test_what_nobody_asked_for_is_only_sent_to_bridge_a_gap(asked: list[str]) -> None:
    wanted = sorted(set().union(*map(asked_for, asked)))
    if not wanted:
        return
    gaps = {n for a, b in pairwise(wanted) if 1 < b - a <= GAP_BYTES + 1 for n in range(a, b)}
    found = spans(f"bytes={','.join(asked)}", SIZE)
    assert found is not None
    assert {offset for span in found for offset in range(span.offset, span.end)} <= {*wanted, *gaps}


@given(st.text(max_size=60))
def test_any_text_is_ranges_or_ignored_or_refused(text: str) -> None:
    for field in (text, f"bytes={text}"):
        try:
            found = spans(field, SIZE)
        except NotSatisfiable:
            continue
        assert found is None or found


@pytest.mark.parametrize(
    "field",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "items=0-1",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=--1",
        "bytes=1",
        "bytes=-",
        "bytes=٣-٤",
    ],
)
def test_a_malformed_field_is_ignored(field: str) -> None:
    assert spans(field, SIZE) is None


def test_the_last_bytes_of_less_than_that_are_all() -> None:
    assert spans("bytes=-20000", SIZE) == (Span(0, SIZE),)


@pytest.mark.parametrize("field", ["bytes=10000-", "bytes=-0", "bytes=10000-10001,20000-"])
def test_nothing_within_the_content_cannot_be_satisfied(field: str) -> None:
    with pytest.raises(NotSatisfiable):
        spans(field, SIZE)


def test_nothing_of_an_empty_file_can_be_satisfied() -> None:
    with pytest.raises(NotSatisfiable):
        spans("bytes=0-", 0)


def test_ranges_that_lie_apart_stay_in_the_order_of_the_request() -> None:
    assert spans("bytes=9000-9009,0-9", SIZE) == (Span(9000, 10), Span(0, 10))


def test_every_byte_as_its_own_range_is_one_range() -> None:
    assert spans("bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), SIZE) == (Span(0, 1000),)


def test_every_second_byte_is_one_range() -> None:
    assert spans("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 1000, 2)), SIZE) == (Span(0, 999),)


def test_too_many_ranges_that_lie_apart_are_refused() -> None:
    apart = [f"{n * 1000}-{n * 1000}" for n in range(MOST_RANGES + 1)]
    with pytest.raises(NotSatisfiable, match="more than"):
        spans(f"bytes={','.join(apart)}", 10**6)
    assert len(spans(f"bytes={','.join(apart[:-1])}", 10**6) or ()) == MOST_RANGES


@pytest.mark.parametrize("digits", [19, 20, 100, 5000])
def test_a_number_may_have_any_number_of_digits(digits: int) -> None:
    large = "9" * digits
    assert spans(f"bytes=5-{large}", SIZE) == (Span(5, SIZE - 5),)
    assert spans(f"bytes=-{large}", SIZE) == (Span(0, SIZE),)
    assert spans(f"bytes={'0' * digits}-1", SIZE) == (Span(0, 2),)
    # The last is before the first, which is malformed; the reverse is merely beyond the end.
    assert spans(f"bytes={large}9-{large}", SIZE) is None
    with pytest.raises(NotSatisfiable):
        spans(f"bytes={large}-{large}9", SIZE)
