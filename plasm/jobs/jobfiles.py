"""Inputs and outputs that are too large for a row of the journal, each in a file of its own beside it.

A file is whole before a row names it, and its row is gone before it is removed: what no row names when a node starts
was left by one that was killed, and goes. Nobody who waits for a row waits for one of these.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from plasm import diskspace
from plasm.jobs.records import JournalUnusable

ROW_BYTES: Final = 64 * 1024
"""What is no larger than this stands in its row."""
_AT_ONCE: Final = 4
"""Files that are written, read or removed at the same time; each may hold as much as one job may leave."""
_NAME: Final = re.compile(r"[0-9a-f]{8,128}-[0-9a-f]{16}")
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class JobFiles:
    """The files in `folder`, which is made; none for ``None``: then rows hold everything."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._at_once = anyio.CapacityLimiter(_AT_ONCE)

    def takes(self, size: int) -> bool:
        """Whether so many bytes belong into a file."""
        return self._folder is not None and size > ROW_BYTES

    async def write(self, job_id: str, parts: Iterable[bytes]) -> str:
        """Write `parts` one after another into a new file of that job; its name.

        As with a commit, what is written outlives the process; after a power cut it may be missing. Raises
        :exc:`~plasm.jobs.records.JournalUnusable`.
        """
        folder = self._there()
        name = f"{job_id}-{secrets.token_hex(8)}"
        try:
            await anyio.to_thread.run_sync(
                _write, folder / name, list(parts), abandon_on_cancel=True, limiter=self._at_once
            )
        except OSError as error:
            if diskspace.is_full(error, folder):
                raise JournalUnusable(
                    f"the journal cannot be written: {diskspace.full(folder)}", diskspace.MEND
                ) from error
            raise JournalUnusable(f"the journal cannot be written: {error}") from error
        return name

    async def read(self, name: str) -> bytes | None:
        """What is in a file; ``None`` where it is gone. Raises :exc:`~plasm.jobs.records.JournalUnusable`."""
        path = self._there() / name
        try:
            return await anyio.to_thread.run_sync(_read, path, abandon_on_cancel=True, limiter=self._at_once)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalUnusable(f"the journal cannot be read: {error}") from error

    async def remove(self, names: Iterable[str | None]) -> None:
        """Remove files that no row names any longer. One that stays for now goes when the node starts again."""
        if paths := [self._there() / name for name in names if name is not None]:
            await anyio.to_thread.run_sync(_remove, paths, abandon_on_cancel=True, limiter=self._at_once)

    async def settle(self, sizes: Mapping[str, int]) -> set[str]:
        """Remove the files that are not among these names; the names whose file is missing or has another size.

        Raises :exc:`~plasm.jobs.records.JournalUnusable`.
        """
        if self._folder is None:
            return set(sizes)
        try:
            return await anyio.to_thread.run_sync(_settle, self._folder, sizes)
        except OSError as error:
            raise JournalUnusable(
                f"{self._folder} cannot be used: {error}", "mend that, or use another --home"
            ) from None

    def _there(self) -> Path:
        if self._folder is None:
            raise JournalUnusable("a row names a file, and a journal in memory has none")
        return self._folder


def _write(path: Path, parts: list[bytes]) -> None:
    try:
        with os.fdopen(os.open(path, _NEW, 0o600), "wb", buffering=0) as file:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, _OLD), "rb", buffering=0) as file:
        return file.read()


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _settle(folder: Path, sizes: Mapping[str, int]) -> set[str]:
    folder.mkdir(mode=0o700, exist_ok=True)
    lost = set(sizes)
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _NAME.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                # Nothing that we wrote.
                continue
            if entry.name not in sizes:
                os.unlink(entry.path)
            elif entry.stat(follow_symlinks=False).st_size == sizes[entry.name]:
                lost.discard(entry.name)
    return lost
