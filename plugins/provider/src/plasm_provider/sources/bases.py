"""Which providers a mirror asks: those that were named, and those that are found."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

import anyio

MOST_FOUND: Final = 16
MOST_FAILURES: Final = 3
"""In a row, of one that was found; a named one is always asked again."""


class Bases:
    """Base URLs of providers, the named ones first; of the found ones the latest."""

    def __init__(self, named: tuple[str, ...] = ()) -> None:
        self._named = tuple(url if url.endswith("/") else f"{url}/" for url in named)
        self._found: OrderedDict[str, None] = OrderedDict()
        self._failures: Counter[str] = Counter()
        self._news = anyio.Event()

    def all(self) -> tuple[str, ...]:
        return (*self._named, *(url for url in self._found if url not in self._named))

    def found(self, base_url: str) -> None:
        """A provider is there."""
        if base_url not in self._found:
            self._news.set()
            self._news = anyio.Event()
        self._found[base_url] = None
        self._found.move_to_end(base_url)
        if len(self._found) > MOST_FOUND:
            self._found.popitem(last=False)

    def served(self, base_url: str) -> None:
        """It was of use."""
        self._failures.pop(base_url, None)

    def failed(self, base_url: str) -> None:
        """It was not."""
        if base_url in self._found:
            self._failures[base_url] += 1
            if self._failures[base_url] >= MOST_FAILURES:
                del self._found[base_url], self._failures[base_url]

    async def news(self) -> None:
        """Return when a provider is found that was not known."""
        await self._news.wait()
