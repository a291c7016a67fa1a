"""One pass over an artifact: its size, its SHA-256, and that of each piece."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from plasm_fetching.artifact import PIECE_BYTES

from plasm_trust.whole_files import open_regular, sync_folder, temporary_beside

Progress = Callable[[str, int, int], None]
"""``progress(path, done, total)``: bytes of one artifact that are done."""


class Digests(NamedTuple):
    """Size in bytes, and SHA-256 in hexadecimal of the whole and of each piece of 4 MiB."""

    size: int
    sha256: str
    pieces: tuple[str, ...]


class FileIdentity(NamedTuple):
    """What changes when a file does, whatever its name is."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> FileIdentity:
        return cls(facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def digest_file(path: Path, name: str, progress: Progress | None = None) -> tuple[Digests, FileIdentity]:
    """The digests of the regular file at `path`; `progress` is told under `name`.

    Raises :exc:`OSError`, also where the file changes meanwhile.
    """
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        return _digest(file, path, name, progress, lambda piece: None)


def copy_file(source: Path, target: Path, name: str, progress: Progress | None = None) -> Digests:
    """Copy the regular file `source` to `target`, where it appears whole; return its digests.

    Raises :exc:`OSError`, also where `source` changes meanwhile.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with (
            os.fdopen(descriptor, "wb", buffering=0) as copy,
            os.fdopen(open_regular(source), "rb", buffering=0) as file,
        ):

            def write(piece: memoryview) -> None:
                while piece:
                    piece = piece[copy.write(piece) :]

            digests, _ = _digest(file, source, name, progress, write)
            os.fsync(copy.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
    return digests


def _digest(
    file: IO[bytes], path: Path, name: str, progress: Progress | None, sink: Callable[[memoryview], None]
) -> tuple[Digests, FileIdentity]:
    before = FileIdentity.of(os.fstat(file.fileno()))
    whole = hashlib.sha256()
    pieces: list[str] = []
    done = 0
    buffer = memoryview(bytearray(PIECE_BYTES))
    # A file that grows while it is read would never end.
    while done <= before.size and (count := _fill(file, buffer)):
        piece = buffer[:count]
        whole.update(piece)
        pieces.append(hashlib.sha256(piece).hexdigest())
        sink(piece)
        done += count
        if progress is not None:
            progress(name, done, before.size)
    if FileIdentity.of(os.fstat(file.fileno())) != before or done != before.size:
        raise OSError(f"{path} changed while it was read")
    return Digests(done, whole.hexdigest(), tuple(pieces)), before


def _fill(file: IO[bytes], buffer: memoryview) -> int:
    count = 0
    while count < len(buffer) and (more := file.readinto(buffer[count:])):  # type: ignore[attr-defined]
        count += more
    return count
