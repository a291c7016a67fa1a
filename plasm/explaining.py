"""What msgspec says of a value that does not fit, in the words of someone who writes TOML."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "date": "a date",
    "datetime": "a date with a time",
    "time": "a time",
}
_COMPARED: Final = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}


def explain(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> str:
    """Which key of a `kind`, what is expected there and what stands there.

    ``[node] slots: expected a whole number, got a text in quotes``; the values that there are where only some are
    allowed: ``[node] allow: expected "anyone", "nobody" or a list, got 'everyone'``.
    """
    what, at, path = str(error).rpartition(" - at `$")
    if not at:
        what, path = str(error), ""
    steps = re.findall(r"\.([^.\[]+)|(\[[^\]]*\])", path.removesuffix("`"))
    names = [name for name, _ in steps if name]
    inside = "an entry of " if any(index for _, index in steps) else ""
    field = _field(kind, names)
    choices = _choices(_entry(field) if inside else field)
    wrong = re.fullmatch(r"(?:Expected `([^`]*)`(.*?)|Invalid enum value (.*?))(?:, got `(.*)`)?", what)
    if wrong is None:
        # A check of the table's own, which begins with the key.
        return f"{_table(names)}{what}"
    types_, bound, value, got = wrong.groups()
    bound = re.sub(r" ([<>]=?) ", lambda found: f" {_COMPARED[found[1]]} ", bound or "")
    expected = choices or _plain(types_ or "another value") + bound.replace("of length of", "of length")
    stands = value if value is not None else _plain(got) if got else ""
    return f"{inside}{_key(names)}expected {expected}{f', got {stands}' if stands else ''}"


def _table(names: list[str]) -> str:
    return f"[{'.'.join(names)}] " if names else ""


def _key(names: list[str]) -> str:
    return f"{_table(names[:-1])}{names[-1]}: " if names else ""


def _plain(kinds: str) -> str:
    words = [_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null"]
    return " or ".join(words)


def _field(kind: type[Any], names: list[str]) -> Any:
    """The type of the field that `names` lead to, or ``None``."""
    found: Any = kind
    for name in names:
        if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
            return None
        found = next((each.type for each in msgspec.structs.fields(found) if each.encode_name == name), None)
    return found


def _entry(kind: Any) -> Any:
    """The type of the entries of a list or table."""
    return next((each for each in reversed(get_args(kind)) if each is not ...), None)


def _choices(kind: Any) -> str:
    """The values that a field allows, where its type lists them."""
    members = [*_members(kind)]
    literals = [f'"{value}"' for each in members if get_origin(each) is Literal for value in get_args(each)]
    if not literals:
        return ""
    others = [_WORDS["array"] for each in members if get_origin(each) in (tuple, list)]
    *first, last = [*literals, *others]
    return f"{', '.join(first)} or {last}" if first else last


def _members(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in (Union, types.UnionType):
        for each in get_args(kind):
            yield from _members(each)
    else:
        yield kind
