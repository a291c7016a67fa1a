"""Errors that say in one line what failed and what would mend it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_LONGEST_LINE = 2000


class PlasmError(Exception):
    """Something that a person can mend: `message` says what failed, `mend` what would help; one line each."""

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.message = one_line(message)
        self.mend = one_line(mend)

    def __str__(self) -> str:
        return f"{self.message}; {self.mend}" if self.mend else self.message


class PlanError(PlasmError):
    """What was selected cannot be opened together, or at all."""


def one_line(text: str) -> str:
    """`text` without line breaks, with every unprintable character escaped, cut to 2000 characters."""
    if len(text) > _LONGEST_LINE:
        text = text[: _LONGEST_LINE - 1] + "…"
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """`text` with nothing in it that a terminal would obey: every unprintable character is escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions inside nested exception groups, in order; `error` itself where it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


@contextlib.contextmanager
def ungrouped() -> Iterator[None]:
    """A group of a single exception comes out as that exception.

    Around a task group inside a context manager: what its block raises is then what its caller catches.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        inner = list(leaves(group))
        if len(inner) != 1:
            raise
        raise inner[0] from inner[0].__cause__
