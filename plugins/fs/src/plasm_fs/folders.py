"""Folders opened one below the other by descriptor, so that no symbolic link is ever followed."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plasm.ports import StoreError

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LINK = frozenset({errno.ELOOP, errno.ENOTDIR})
_PAIR = re.compile(r"[0-9a-f]{2}", re.ASCII)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an :exc:`OSError` into a :exc:`StoreError` of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(f"the disk of {path} is full; make room on it") from error
        if error.errno in _LINK:
            raise StoreError(
                f"{path} is or holds a symbolic link or a file out of place; name the store's own folder"
            ) from error
        raise StoreError(f"the store in {path} failed: {error.strerror}") from error


@contextmanager
def opened(parent: int, name: str, *, create: bool = False) -> Iterator[int]:
    """The folder `name` in the folder that is open as `parent`. Raises :exc:`OSError`."""
    if create:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
    descriptor = os.open(name, FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def pairs(folder: int) -> Iterator[str]:
    """The names in `folder` that are two hexadecimal digits."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _PAIR.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                yield entry.name
