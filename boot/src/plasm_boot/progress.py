"""Progress on stderr, for people: a bar with who serves what where that is a terminal, and lines that stay."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.events import Dropped, Event, Progressed, Resumed
from plasm_fetching.fetching import Fetched

from plasm.errors import one_line

MOST_SOURCES_SHOWN: Final = 6
_BAR: Final = 24


class Progress:
    """A context manager; :meth:`report` takes the events of one artifact after another, from any thread in turn."""

    def __init__(self, program: str, *, quiet: bool = False) -> None:
        self.dropped: list[Dropped] = []
        """Providers that are asked no more, with the reasons."""
        self._program = program
        self._quiet = quiet
        self._shown = not quiet and sys.stderr.isatty()
        self._plain = not (sys.stderr.encoding or "").lower().startswith("utf")
        self._name = ""
        self._lines = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._clear()

    def begin(self, artifact: Artifact) -> None:
        """The events that follow are about `artifact`."""
        self._name = artifact.path.rpartition("/")[2]

    def report(self, event: Event) -> None:
        """Show what happened."""
        match event:
            case Progressed():
                if self._shown:
                    width = shutil.get_terminal_size().columns - 1
                    self._draw([line[:width] for line in lines(self._name, event, plain=self._plain)])
            case Resumed():
                self.note(f"{self._name}: {megabytes(event.size)} are there from before")
            case Dropped(again_in=None):
                self.dropped.append(event)
                self.note(f"dropped {_blame(event)}")
            case Dropped():
                again = "if nobody else is left" if event.again_in == 0 else f"again in {event.again_in:g} s"
                self.note(f"{_blame(event)}; {again}")

    def end(self, fetched: Fetched) -> None:
        """The artifact is there."""
        if not fetched.received:
            self.note(f"{self._name}: verified, it was there already")
            return
        brought = sum(fetched.by_source.values())
        shares = ", ".join(
            f"{origin} {100 * size / max(brought, 1):.0f} %" for origin, size in _most_first(fetched.by_source)
        )
        rate = f"{megabytes(round(fetched.received / max(fetched.seconds, 1e-3)))}/s"
        self.note(f"{self._name}: verified, {megabytes(fetched.size)} in {fetched.seconds:.1f} s ({rate}): {shares}")

    def note(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._clear()
            print(f"{self._program}: {one_line(text)}", file=sys.stderr, flush=True)

    def _draw(self, drawn: list[str]) -> None:
        self._clear()
        sys.stderr.write("\n".join(drawn))
        sys.stderr.flush()
        self._lines = len(drawn)

    def _clear(self) -> None:
        if self._lines:
            up = f"\x1b[{self._lines - 1}A" if self._lines > 1 else ""
            sys.stderr.write(f"\r{up}\x1b[J")
            self._lines = 0


def lines(name: str, event: Progressed, *, plain: bool = False) -> list[str]:
    """What is shown of an artifact that is under way: a bar, and a line to each provider that brought something."""
    share = event.done / event.size if event.size else 1.0
    filled = round(share * _BAR)
    bar = ("#" if plain else "█") * filled + ("-" if plain else "░") * (_BAR - filled)
    left = f", {_duration((event.size - event.done) / event.rate)} left" if event.rate > 0 and share < 1 else ""
    shown = [
        f"{name:<10} {bar} {100 * share:3.0f} %  {megabytes(event.done)} of {megabytes(event.size)},"
        f" {megabytes(round(event.rate))}/s{left}"
    ]
    brought = sum(event.by_source.values())
    by_source = _most_first(event.by_source)
    for origin, size in by_source[:MOST_SOURCES_SHOWN]:
        shown.append(f"  {origin}  {megabytes(size)}, {100 * size / max(brought, 1):.0f} %")
    if len(by_source) > MOST_SOURCES_SHOWN:
        shown.append(f"  and {len(by_source) - MOST_SOURCES_SHOWN} more")
    return shown


def megabytes(size: int) -> str:
    """``12.3 MB``; smaller ones in kB or bytes."""
    if size >= 1_000_000:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} bytes"


def _most_first(by_source: dict[str, int] | object) -> list[tuple[str, int]]:
    assert isinstance(by_source, dict)
    return sorted(by_source.items(), key=lambda pair: -pair[1])


def _duration(seconds: float) -> str:
    whole = min(round(seconds), 359_999)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _blame(event: Dropped) -> str:
    return event.reason if event.source in event.reason else f"{event.source}: {event.reason}"
