"""Files that appear whole or not at all, and are read under a cap."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

from plasm.files import TEMPORARY, sync_folder, temporary_beside, write_whole

__all__ = [
    "name_again",
    "open_regular",
    "read_capped",
    "sweep",
    "sync_folder",
    "temporary_beside",
    "write_new",
    "write_whole",
]


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put `data` at `path`, where nothing is yet. Raises :exc:`FileExistsError` or another :exc:`OSError`."""
    temporary = _written_beside(path, data, mode)
    try:
        # A hard link, because rename() would replace what somebody has just put there.
        os.link(temporary, path, follow_symlinks=False)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _written_beside(path: Path, data: bytes, mode: int) -> Path:
    temporary = temporary_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def name_again(path: Path, name: Path) -> None:
    """Give the file at `path` the second name `name`, in place of what has it; a copy where there are no hard links.

    Raises :exc:`OSError`.
    """
    temporary = temporary_beside(name)
    try:
        try:
            os.link(path, temporary, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS):
                raise
            shutil.copyfile(path, temporary, follow_symlinks=False)
            with temporary.open("rb") as copy:
                os.fsync(copy.fileno())
        temporary.replace(name)
    finally:
        # Where both are one file already, rename() does nothing.
        temporary.unlink(missing_ok=True)
    sync_folder(name.parent)


def sweep(folder: Path) -> None:
    """Remove what a killed process left below `folder`; the caller keeps others from writing there."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(TEMPORARY):
                Path(parent, name).unlink(missing_ok=True)


def read_capped(path: Path, max_bytes: int) -> bytes:
    """The regular file at `path`, not behind a symbolic link. Raises :exc:`OSError`, also where it is larger."""
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(f"{path} is larger than {max_bytes} bytes")
    return data


def open_regular(path: Path) -> int:
    """A descriptor of the regular file at `path`, not behind a symbolic link. Raises :exc:`OSError`."""
    # O_NONBLOCK: opening a FIFO that somebody put there must not wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return descriptor
