"""How fast providers answer: one small file of each, asked for at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from plasm_fetching.http import FetchError, read

ANSWER_SECONDS: Final = 5.0
AT_ONCE: Final = 8

Allows = Callable[[str], bool]


@dataclass(frozen=True)
class Answer:
    """What came of asking one provider."""

    data: bytes
    seconds: float
    """From before the connection to the last byte."""


def ask(url: str, max_bytes: int, allows: Allows) -> Answer:
    """Read `url`, which has `max_bytes` at most. Raises :exc:`plasm_fetching.http.FetchError`."""
    began = time.monotonic()
    data = read(url, max_bytes=max_bytes, timeout=ANSWER_SECONDS, allows=allows)
    return Answer(data, time.monotonic() - began)


def ask_all(urls: Sequence[str], max_bytes: int, allows: Allows) -> list[Answer | FetchError]:
    """:func:`ask` each of `urls`, several at once; the answers in the same order."""

    def one(url: str) -> Answer | FetchError:
        try:
            return ask(url, max_bytes, allows)
        except FetchError as error:
            return error

    if not urls:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(urls))) as pool:
        return list(pool.map(one, urls))
