"""Opening and hashing files of a folder that others may change at any moment."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from plasm_trust.hashing import FileIdentity

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO that somebody put there must not wait for its writer.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_BYTES: Final = 2**20
_TICK_NS: Final = 20 * 10**6
"""A file that changes twice within one tick of its file system's clock may look unchanged; ticks are 10 ms at most."""

Progress = Callable[[int, int], None]
"""``progress(done, total)``, in bytes; may raise to give up."""


class ChangedMeanwhile(OSError):
    """The file was written to while it was read."""


def open_beneath(folder: Path, parts: Sequence[str]) -> int:
    """A descriptor of the regular file at `parts` below `folder`, on the way to which there is no symbolic link.

    Raises :exc:`OSError`.
    """
    *folders, name = parts
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for each in folders:
        try:
            inner = os.open(each, _FOLDER, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    try:
        file = os.open(name, _FILE, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{'/'.join(parts)} is not a regular file")
    return file


def identity_of(descriptor: int) -> FileIdentity:
    """What tells whether an open file, or its place in a folder, has changed."""
    return FileIdentity.of(os.fstat(descriptor))


def same_content(descriptor: int, identity: FileIdentity) -> bool:
    """Whether an open file has the content that it had as `identity`; it may have been renamed or removed since."""
    facts = os.fstat(descriptor)
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns) == (identity.inode, identity.size, identity.mtime_ns)


def sha256_of(descriptor: int, progress: Progress) -> tuple[str, FileIdentity]:
    """The SHA-256 of an open file in hexadecimal, and the identity with which it has that.

    Raises :exc:`ChangedMeanwhile`, another :exc:`OSError`, or what `progress` raises.
    """
    before = identity_of(descriptor)
    age = time.time_ns() - before.ctime_ns
    if age < _TICK_NS:
        time.sleep(_TICK_NS / 10**9)
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_BYTES))
    done = 0
    while count := os.preadv(descriptor, [buffer], done):
        digest.update(buffer[:count])
        done += count
        progress(done, before.size)
    if identity_of(descriptor) != before or done != before.size:
        raise ChangedMeanwhile("the file was written to while it was read")
    return digest.hexdigest(), before
