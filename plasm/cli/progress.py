"""Progress on stderr, for people: one line that changes, and only where something takes over a second on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from plasm.jobs.conversation import Event

_PATIENCE_SECONDS = 1.0
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_SECONDS = 0.1

_WORDS = {
    "looking": "looking for a node",
    "found": "found a node",
    "sending": "sending the job",
    "accepted": "accepted",
    "queued": "waiting for its turn",
    "compiling": "compiling",
    "running": "running",
    "reconnecting": "connecting again",
    "verified": "verified",
}


class Progress:
    """A context manager; :meth:`report` takes a job's events. Failures of nodes are lines that stay."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._quiet = quiet
        self._verbose = verbose
        self._words = ""
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._drawn = False
        self._thread = threading.Thread(target=self._draw, daemon=True)

    def __enter__(self) -> Progress:
        if self._shown:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._shown:
            self._thread.join()
            self._clear()

    def report(self, event: Event) -> None:
        """Show what happened."""
        words = _WORDS.get(event.kind, event.kind)
        if event.kind == "queued" and event.ahead:
            words += f" behind {event.ahead} others"
        if event.kind == "node_failed":
            if not self._quiet:
                self.line(f"plasm: {event.node}: {event.detail}; trying the next node")
            words = "looking for another node"
        elif self._verbose:
            self.line(f"plasm: {words}{f' {event.node}' if event.node else ''} {event.detail}".rstrip())
        with self._lock:
            self._words = words

    def line(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            self._clear()
            print(text, file=sys.stderr, flush=True)

    def _draw(self) -> None:
        frame = 0
        wait = _PATIENCE_SECONDS
        while not self._ended.wait(wait):
            wait = _FRAME_SECONDS
            frame += 1
            with self._lock:
                seconds = time.monotonic() - self._began
                spinner = _FRAMES[frame % len(_FRAMES)]
                sys.stderr.write(f"\r\x1b[K{spinner} {self._words} ({seconds:.0f} s)")
                sys.stderr.flush()
                self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False
