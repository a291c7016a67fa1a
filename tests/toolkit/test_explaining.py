"""What is said about a value that does not fit, also of options that plugins describe."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from plasm.drivers import Options
from plasm.explaining import explain


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    depth: int = 0


class Made(Options):
    mode: Literal["fast", "slow"] = "fast"
    modes: tuple[Literal["a", "b"], ...] = ()
    size: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    name: Annotated[str, msgspec.Meta(max_length=2)] = ""
    inner: Inner = msgspec.field(default_factory=Inner)
    table: dict[str, int] = msgspec.field(default_factory=dict)
    here: bool = False


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"mode": "quick"}, """mode: expected "fast" or "slow", got 'quick'"""),
        ({"mode": 3}, 'mode: expected "fast" or "slow", got a whole number'),
        ({"modes": ["c"]}, """an entry of modes: expected "a" or "b", got 'c'"""),
        ({"size": 0}, "size: expected a whole number of at least 1"),
        ({"size": 10}, "size: expected a whole number of at most 9"),
        ({"size": "1"}, "size: expected a whole number, got a text in quotes"),
        ({"seconds": 0.0}, "seconds: expected a number above 0.0"),
        ({"name": "abc"}, "name: expected a text in quotes of length at most 2"),
        ({"inner": {"depth": "x"}}, "[inner] depth: expected a whole number, got a text in quotes"),
        ({"inner": 3}, "inner: expected a table, got a whole number"),
        ({"table": {"x": "y"}}, "an entry of table: expected a whole number, got a text in quotes"),
        ({"here": "yes"}, "here: expected true or false, got a text in quotes"),
        (3, "expected a table, got a whole number"),
    ],
)
def test_the_key_what_is_expected_and_what_stands_there_are_named(value: object, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Made, strict=True)
    assert explain(caught.value, Made) == said
