"""Progress on stderr, for people: one line that changes, and only where something takes over a second on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from plasm.jobs.attempts import blame
from plasm.jobs.conversation import Event
from plasm.ports import PeerId

_PATIENCE_SECONDS = 1.0
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_FRAMES = "|/-\\"
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
    """A context manager; :meth:`report` takes a job's events.

    That a node failed is a line that stays, once another is tried: where none is, the command's own failure says it.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.job_id = ""
        """Of the job that a node has accepted last."""
        self._shown = not quiet and sys.stderr.isatty()
        self._quiet = quiet
        self._verbose = verbose
        self._failed = ""
        self._words = "starting"
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
        match event.kind:
            case "accepted":
                self.job_id = event.detail
            case "queued" if event.ahead:
                words += f" behind {event.ahead} other{'' if event.ahead == 1 else 's'}"
            case "node_failed":
                self._failed = blame(PeerId(event.node), event.detail)
                self.job_id = ""
                words = "looking for another node"
            case "found" if self._failed:
                if not self._quiet:
                    self.line(f"plasm: {self._failed}; trying {event.node}")
                self._failed = ""
        if self._verbose and event.kind != "node_failed":
            self.line(f"plasm: {words}{f' {event.node}' if event.node else ''} {event.detail}".rstrip())
        with self._lock:
            self._words = words

    def line(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            self._clear()
            print(text, file=sys.stderr, flush=True)

    def _draw(self) -> None:
        frames = _FRAMES if sys.stderr.encoding.lower().startswith("utf") else _PLAIN_FRAMES
        frame = 0
        wait = _PATIENCE_SECONDS
        while not self._ended.wait(wait):
            wait = _FRAME_SECONDS
            frame += 1
            with self._lock:
                seconds = time.monotonic() - self._began
                sys.stderr.write(f"\r\x1b[K{frames[frame % len(frames)]} {self._words} ({seconds:.0f} s)")
                sys.stderr.flush()
                self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False
