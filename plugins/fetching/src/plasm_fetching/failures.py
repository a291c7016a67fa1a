"""Why an artifact could not be had."""

from __future__ import annotations

from collections.abc import Sequence

from plasm_fetching.http import FetchError


class Stopped(FetchError):
    """The caller stopped it; what is whole stays for the next time."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} was stopped; what is there stays for the next time")


class NoSourceLeft(FetchError):
    """Every provider was given up; the message says why each one was."""

    def __init__(self, path: str, reasons: Sequence[tuple[str, str]]) -> None:
        why = "; ".join(dict.fromkeys(reason for _, reason in reasons)) or "no provider was given"
        super().__init__(f"{path} could not be fetched: {why}")
        self.reasons = tuple(reasons)
        """Pairs of a provider's origin and what was wrong with it."""


class Contradiction(FetchError):
    """Every piece is as it was signed, and the whole is not: the signed metadata contradict themselves."""
