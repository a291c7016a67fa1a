"""The client's book: which node promised which job, so that a result can be asked for after anything was lost."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import msgspec

from plasm.jobs.elapsed import ElapsedTime, Mark
from plasm.jobs.manifest import Job
from plasm.jobs.messages import JobId
from plasm.ports import PeerId

MAX_SUBMISSIONS = 10_000
MAX_BYTES = 32 * 2**20
"""Of what is kept; what is written between two sweeps comes on top of it, up to as much again."""
LONGEST_SECONDS = 90 * 86400
"""A node may promise more: after this nobody is expected to ask."""
_MAX_LINE = 2**20
_FILE = "submitted.jsonl"


class Submitted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job that a node accepted from this client. Times are seconds since the epoch."""

    job_id: JobId
    node: str
    addresses: tuple[str, ...]
    nonce: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    job: Job
    name: str
    submitted: float
    deadline: float
    """The node does not promise to have the result after this."""
    runtime: str | None = None
    """The one that was asked for by name."""

    @property
    def peer(self) -> PeerId:
        return PeerId(self.node)


class _Line(Submitted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A submission with the moment at which it was recorded; ``None`` where an earlier Plasm wrote it."""

    mark: Mark | None = None

    @property
    def submission(self) -> Submitted:
        fields = {name: getattr(self, name) for name in Submitted.__struct_fields__}
        return Submitted(**fields)

    def is_over(self, now: float) -> bool:
        """Whether the time that was promised has passed, whatever the clock has been set to meanwhile."""
        promised = min(self.deadline - self.submitted, LONGEST_SECONDS)
        return self.mark is not None and now - self.mark.elapsed > promised


def _line(submitted: Submitted, mark: Mark) -> _Line:
    fields = {name: getattr(submitted, name) for name in Submitted.__struct_fields__}
    return _Line(**fields, mark=mark)


class Book:
    """A line of JSON to a submission, the newest last, in a file in `folder`; in memory where that is ``None``.

    A file for each of them, written by a thread, took a fifth of what a short job costs its client. A line that a death
    cut short spoils no other. Whoever opens a book is its only writer: the lock on the home sees to that.
    """

    def __init__(self, folder: Path | None, begin: Callable[[Mark | None], ElapsedTime] = ElapsedTime) -> None:
        """`begin` gives the time that has passed, from where an earlier life left it."""
        self._path = None if folder is None else folder / _FILE
        self._begin = begin
        self._time = begin(None) if folder is None else None
        self._memory: dict[str, _Line] = {}
        self._writing = anyio.Lock(fast_acquire=True)
        self._ends_in_a_line = False
        self._lines = self._bytes = 0

    async def record(self, submitted: Submitted) -> None:
        """Keep it until its deadline. Raises :exc:`OSError`."""
        time = self._time or await self._begin_anew()
        recorded = _line(submitted, time.mark())
        if self._path is None:
            while len(self._memory) >= MAX_SUBMISSIONS:
                del self._memory[next(iter(self._memory))]
            self._memory[submitted.job_id] = recorded
            return
        line = msgspec.json.encode(recorded) + b"\n"
        async with self._writing:
            # In the event loop: it is some hundred bytes to the page cache, and a thread costs ten times that.
            self._append(self._path, line)
            self._lines += 1
            self._bytes += len(line)
            if self._lines > MAX_SUBMISSIONS or self._bytes > MAX_BYTES:
                await self._sweep(self._path)

    async def find(self, job_id: str) -> Submitted | None:
        """The submission of that id, as far as it is kept."""
        if self._path is None:
            line = self._memory.get(job_id)
            return line and line.submission
        return await anyio.to_thread.run_sync(_find, self._path, job_id)

    async def listed(self) -> list[Submitted]:
        """All that is kept, newest first."""
        if self._path is None:
            return _newest_first({key: line.submission for key, line in self._memory.items()})
        return _newest_first(await anyio.to_thread.run_sync(_read, self._path))

    async def sweep(self) -> None:
        """Drop what is past its deadline, and the oldest above the bounds. Raises :exc:`OSError`."""
        time = self._time or await self._begin_anew()
        if self._path is None:
            now = time.now()
            self._memory = {key: each for key, each in self._memory.items() if not each.is_over(now)}
            return
        async with self._writing:
            await self._sweep(self._path)

    async def _begin_anew(self) -> ElapsedTime:
        marks = [] if self._path is None else await anyio.to_thread.run_sync(_marks, self._path)
        self._time = self._begin(marks[-1] if marks else None)
        return self._time

    async def _sweep(self, path: Path) -> None:
        time = self._time or await self._begin_anew()
        await anyio.to_thread.run_sync(_sweep, path, time.mark())
        self._lines = self._bytes = 0

    def _append(self, path: Path, line: bytes) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if not self._ends_in_a_line:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line
                self._ends_in_a_line = True
            written = os.write(descriptor, line)
            if written < len(line):
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)


def read_submissions(folder: Path) -> list[Submitted]:
    """What the book in `folder` holds, newest first; for whoever only looks."""
    return _newest_first(_read(folder / _FILE))


def _newest_first(found: dict[str, Submitted]) -> list[Submitted]:
    return sorted(found.values(), key=lambda submitted: -submitted.submitted)


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of the file that are no longer than lines are."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        while line := file.readline(_MAX_LINE):
            if line.endswith(b"\n"):
                yield line


def _parse(line: bytes) -> _Line | None:
    with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
        return msgspec.json.decode(line, type=_Line)
    return None


def _marks(path: Path) -> list[Mark]:
    parsed = map(_parse, _lines(path))
    return [line.mark for line in parsed if line is not None and line.mark is not None]


def _read(path: Path) -> dict[str, Submitted]:
    # What stands there twice counts as it stands last.
    return {found.job_id: found.submission for line in _lines(path) if (found := _parse(line)) is not None}


def _find(path: Path, job_id: str) -> Submitted | None:
    wanted = job_id.encode("utf-8", "replace")
    found = None
    for line in _lines(path):
        if wanted in line and (parsed := _parse(line)) is not None and parsed.job_id == job_id:
            found = parsed.submission
    return found


def _sweep(path: Path, mark: Mark) -> None:
    kept: dict[str, bytes] = {}
    count, anew = 0, False
    for line in _lines(path):
        count += 1
        parsed = _parse(line)
        if parsed is None or parsed.is_over(mark.elapsed):
            continue
        if parsed.mark is None:
            line = msgspec.json.encode(msgspec.structs.replace(parsed, mark=mark)) + b"\n"
            anew = True
        kept.pop(parsed.job_id, None)
        kept[parsed.job_id] = line
    lines = _newest(list(kept.values()))
    if anew or len(lines) < count:
        _replace(path, b"".join(lines))


def _newest(lines: Sequence[bytes]) -> Sequence[bytes]:
    """Of `lines`, the newest last, as many from the end as the bounds allow."""
    size = 0
    for number, line in enumerate(reversed(lines)):
        size += len(line)
        if number == MAX_SUBMISSIONS or size > MAX_BYTES:
            return lines[len(lines) - number :]
    return lines


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
