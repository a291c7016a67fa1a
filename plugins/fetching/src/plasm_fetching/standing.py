"""What is remembered of providers between two fetches: who lied, and how fast each one was."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

MOST_ORIGINS: Final = 256
LIE_SECONDS: Final = 7 * 86400
"""For which one that lied is not asked. Addresses change hands, so it is not for ever."""
_LARGEST_FILE = 256 * 1024
_LONGEST_ORIGIN = 320
_LONGEST_REASON = 500
_FASTEST = 1e12


class Standing:
    """Providers by their origins (``http://HOST:PORT``), in the file `path` or, with ``None``, in memory alone.

    A file that cannot be read counts as empty: what it says is a convenience and nothing rests on it.
    """

    def __init__(self, path: Path | None = None, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = _load(path) if path is not None else {}

    def lied(self, origin: str) -> str | None:
        """What `origin` lied about of late, ``None`` where it did not."""
        known = self._known.get(origin, {})
        # Of a lie in the future the clock was ahead: then, or it is behind now.
        return str(known["lie"]) if abs(self._now() - known.get("lied", math.inf)) < LIE_SECONDS else None

    def ranked(self, origins: Sequence[str]) -> list[str]:
        """`origins` with the fastest first; those that nothing is known of stand between the fast and the slow."""
        rates = [rate for origin in origins if (rate := self._known.get(origin, {}).get("rate")) is not None]
        middle = sorted(rates)[len(rates) // 2] if rates else 0.0
        return sorted(origins, key=lambda origin: -self._known.get(origin, {}).get("rate", middle))

    def note_lie(self, origin: str, reason: str) -> None:
        """`origin` was caught."""
        self._note(origin, lied=self._now(), lie=reason[:_LONGEST_REASON])

    def note_rate(self, origin: str, rate: float) -> None:
        """`origin` brought so many bytes per second."""
        self._note(origin, rate=min(max(rate, 0.0), _FASTEST))

    def _note(self, origin: str, **facts: Any) -> None:
        if len(origin) > _LONGEST_ORIGIN:
            return
        with self._lock:
            self._known[origin] = {**self._known.pop(origin, {}), **facts}
            while len(self._known) > MOST_ORIGINS:
                # The one that was heard of longest ago, and of those that lied the last.
                honest = (each for each, known in self._known.items() if "lie" not in known)
                del self._known[next(honest, next(iter(self._known)))]

    def save(self) -> None:
        """Write it down, whole or not at all; a disk that takes nothing costs the memory and nothing else."""
        if self._path is None:
            return
        with self._lock:
            data = json.dumps({"version": 1, "providers": self._known}).encode()
        # A symbolic link stays one.
        path = Path(os.path.realpath(self._path))
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                temporary.rename(path)
            finally:
                temporary.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        document = json.loads(data) if len(data) <= _LARGEST_FILE else None
    except (OSError, ValueError, RecursionError):
        return {}
    providers = document.get("providers") if isinstance(document, dict) else None
    known: dict[str, dict[str, Any]] = {}
    for origin, facts in list(providers.items())[:MOST_ORIGINS] if isinstance(providers, dict) else ():
        if len(origin) <= _LONGEST_ORIGIN and isinstance(facts, dict):
            known[origin] = _checked(facts)
    return known


def _checked(facts: dict[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    if _is_number(facts.get("rate")):
        checked["rate"] = min(max(float(facts["rate"]), 0.0), _FASTEST)
    lie = facts.get("lie")
    if _is_number(facts.get("lied")) and isinstance(lie, str) and lie.isprintable():
        checked["lied"], checked["lie"] = float(facts["lied"]), lie[:_LONGEST_REASON]
    return checked


def _is_number(value: object) -> bool:
    # NaN is none, and a boolean is an int to Python.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e18 < value < 1e18
