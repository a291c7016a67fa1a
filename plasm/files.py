"""Files that a person or another program names: written whole or not at all, and read as the text that they hold.

What stands in the place of a file stays what it is. A device, a FIFO or a socket is opened and written to; behind a
symbolic link the file is written that it leads to; a file of somebody else keeps its owner.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TEMPORARY: Final = ".new-"
"""How the names begin of files that are being written: what a killed process left can be found by it."""

_OPENED_BEFORE_US: Final = os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotText(ValueError):
    """A file holds no text in UTF-8; the message is what it is instead, and what mends it."""


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Have `data` at `path`: a regular file appears whole or not at all, and is on the disk when this returns.

    A file that is there keeps its mode and its owner; a new one gets `mode`, less the umask. What is there and is no
    regular file is opened and written to, and so is a file of somebody else whose owner we cannot keep. A symbolic
    link is followed where it is ours or root's. Raises :exc:`OSError`.
    """
    place = _place(path)
    if place.facts is None or (stat.S_ISREG(place.facts.st_mode) and place.settled):
        try:
            _replace(place.path, data, mode, place.facts)
        except _OwnerLost:
            pass
        else:
            return
    _write_into(place.path, data)


def temporary_beside(path: Path) -> Path:
    """A new name for what will become `path`."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")


def sync_folder(folder: Path) -> None:
    """Make what was renamed in `folder` outlast a power cut. Raises :exc:`OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def text_of(data: bytes) -> str:
    """The text of a file that people write: UTF-8, with or without a byte order mark at its beginning.

    Raises :exc:`NotText` for other encodings, with a message such as ``"it is UTF-16: save it as UTF-8"``, which
    quotes nothing of the file.
    """
    if data.startswith(_UTF16):
        raise NotText("it is UTF-16: save it as UTF-8")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise NotText(f"it is not UTF-8: {error.reason} at byte {error.start}") from None


class _OwnerLost(Exception):
    """A new file would not have the owner of the one that it replaces."""


@dataclass(frozen=True)
class _Place:
    """Where something is to be written, and what is there: ``None`` where nothing is."""

    path: Path
    facts: os.stat_result | None
    settled: bool = True
    """Whether `path` itself is what is there, and may be replaced."""


def _place(path: Path) -> _Place:
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return _Place(path, None)
    if not stat.S_ISLNK(facts.st_mode):
        return _Place(path, facts)
    if facts.st_uid not in (os.geteuid(), 0):
        raise PermissionError(errno.EACCES, f"it is a symbolic link of user {facts.st_uid}", str(path))
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        behind = path.stat()
        # A link such as /proc/self/fd/1 leads to what has no name, or has another one by now.
        settled = target.exists() and os.path.samestat(target.lstat(), behind)
        return _Place(target if settled else path, behind, settled)
    return _Place(target, None)


def _replace(path: Path, data: bytes, mode: int, facts: os.stat_result | None) -> None:
    temporary = temporary_beside(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode if facts is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if facts is not None:
                _keep_owner(file.fileno(), facts)
                os.fchmod(file.fileno(), stat.S_IMODE(facts.st_mode) & 0o777)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _keep_owner(descriptor: int, facts: os.stat_result) -> None:
    ours = os.fstat(descriptor)
    if ours.st_uid == facts.st_uid:
        # Another group of ours, as a folder with its own group gives it, is no other owner.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, -1, facts.st_gid)
        return
    try:
        os.fchown(descriptor, facts.st_uid, facts.st_gid)
    except PermissionError:
        raise _OwnerLost from None


def _write_into(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, _OPENED_BEFORE_US | os.O_TRUNC), "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        with contextlib.suppress(OSError):
            os.fsync(file.fileno())
