"""What is remembered of providers, whatever stands in the file and whatever the clock said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plasm_fetching.standing import LIE_SECONDS, MOST_ORIGINS, Standing

ONE, TWO, THREE = "http://one:80", "http://two:80", "http://three:80"

NUMBERS = st.integers() | st.floats() | st.booleans() | st.just(10**400)
JSON = st.recursive(
    st.none() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FACTS = st.fixed_dictionaries({}, optional={"rate": JSON, "lied": JSON, "lie": JSON, "other": JSON})
DOCUMENTS = st.fixed_dictionaries({}, optional={"version": JSON, "providers": st.dictionaries(st.text(), FACTS) | JSON})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary()
    | DOCUMENTS.map(lambda document: json.dumps(document).encode())
    | st.sampled_from([b"[" * 100_000, b'{"providers": {"x": {"rate": 1' + b"0" * 5000 + b"}}}", b" " * 300_000])
)
def test_any_file_can_be_read_and_written_again(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "standing.json"
    path.write_bytes(data)
    standing = Standing(path, now=lambda: 1e9)
    try:
        origins = [*json.loads(data)["providers"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        origins = []
    origins = [origin for origin in origins if isinstance(origin, str)]
    assert sorted(standing.ranked(origins)) == sorted(origins)
    for origin in origins:
        lie = standing.lied(origin)
        assert lie is None or lie.isprintable()
    standing.note_lie(ONE, "another digest")
    standing.note_rate(TWO, 5.0)
    standing.save()
    again = Standing(path, now=lambda: 1e9)
    assert again.lied(ONE) == "another digest"
    assert again.ranked(origins) == standing.ranked(origins)
    assert [again.lied(origin) for origin in origins] == [standing.lied(origin) for origin in origins]


def test_the_fastest_comes_first_and_who_is_unknown_in_the_middle() -> None:
    standing = Standing()
    standing.note_rate(ONE, 1.0)
    standing.note_rate(THREE, 9.0)
    standing.note_rate("http://four:80", 5.0)
    assert standing.ranked([ONE, TWO, THREE, "http://four:80"]) == [THREE, TWO, "http://four:80", ONE]


def test_who_lied_is_remembered_for_a_while_and_not_for_ever(tmp_path: Path) -> None:
    clock = [1e9]
    standing = Standing(tmp_path / "standing.json", now=lambda: clock[0])
    standing.note_lie(ONE, "another digest")
    standing.save()
    assert standing.lied(TWO) is None
    clock[0] += LIE_SECONDS - 1
    assert Standing(tmp_path / "standing.json", now=lambda: clock[0]).lied(ONE) == "another digest"
    clock[0] += 2
    assert Standing(tmp_path / "standing.json", now=lambda: clock[0]).lied(ONE) is None


def test_a_lie_that_was_noted_by_a_clock_years_ahead_is_forgotten_once_the_clock_is_right() -> None:
    clock = [2e9]
    standing = Standing(now=lambda: clock[0])
    standing.note_lie(ONE, "another digest")
    clock[0] = 1e9
    assert standing.lied(ONE) is None


def test_honest_providers_are_forgotten_before_liars_and_never_more_than_so_many_are_known(tmp_path: Path) -> None:
    path = tmp_path / "standing.json"
    standing = Standing(path)
    standing.note_lie(ONE, "another digest")
    for number in range(2 * MOST_ORIGINS):
        standing.note_rate(f"http://{number}:80", 1.0)
    standing.note_lie("http://" + "x" * 1000, "too long a name")
    standing.save()
    assert len(json.loads(path.read_bytes())["providers"]) == MOST_ORIGINS
    assert Standing(path).lied(ONE) is not None


@pytest.mark.parametrize("where", ["missing/standing.json", "folder"])
def test_where_it_cannot_be_kept_it_is_known_all_the_same(tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    standing = Standing(tmp_path / where)
    standing.note_lie(ONE, "another digest")
    standing.save()
    assert standing.lied(ONE) is not None
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    standing = Standing(tmp_path / "standing.json")
    standing.note_rate(ONE, 1.0)
    standing.save()
    assert (tmp_path / "standing.json").stat().st_mode & 0o777 == 0o600
