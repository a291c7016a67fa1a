"""Small files that only their owner may read: checked when opened, published whole, never overwritten."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from pathlib import Path

from plasm.ports import SignerError


class KeyMissing(SignerError):
    """There is no file at the path."""


class KeyExists(SignerError):
    """There is a file at the path already, and it stays as it is."""


class KeyRefused(SignerError):
    """The file is not one to be trusted with a key, or holds none; the message says what mends it."""


def shown(path: Path) -> str:
    """`path` as a shell takes it, or escaped where a terminal would obey it."""
    text = str(path)
    return shlex.quote(text) if text.isprintable() else ascii(text)


def read_private(path: Path, max_bytes: int) -> bytes:
    """The whole file at `path`.

    It must be a regular file of ours, not a symbolic link, closed to group and others, of `max_bytes` at most.
    Raises :exc:`KeyMissing`, :exc:`KeyRefused` or :exc:`SignerError`.
    """
    name = shown(path)
    try:
        # O_NONBLOCK: opening a FIFO that somebody put there must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyMissing(f"there is no key at {name}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KeyRefused(f"{name} is a symbolic link; name the key file itself") from None
        raise SignerError(f"cannot open the key {name}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyRefused(f"{name} is not a regular file; name the key file itself")
        if status.st_uid != os.geteuid():
            raise KeyRefused(f"{name} belongs to another user; chown {os.geteuid()} {name}")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise KeyRefused(f"{name} is open to other users (mode {mode:04o}); chmod 600 {name}")
        try:
            data = file.read(max_bytes + 1)
        except OSError as error:
            raise SignerError(f"cannot read the key {name}: {error.strerror}") from error
    if len(data) > max_bytes:
        raise KeyRefused(f"{name} is too large to be a key (more than {max_bytes} bytes)")
    return data


def publish_private(path: Path, data: bytes) -> None:
    """Put `data` at `path` with mode 0600, whole or not at all; missing folders are created 0700.

    Of several that publish to one path at once, one wins. Raises :exc:`KeyExists` or :exc:`SignerError`.
    """
    name = shown(path)
    try:
        _publish(path, data)
    except FileExistsError:
        raise KeyExists(f"there is a file at {name} already; name another: an identity is in it") from None
    except OSError as error:
        raise SignerError(f"cannot write the key {name}: {error.strerror}") from error


def _publish(path: Path, data: bytes) -> None:
    _make_folders(path.parent)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = f".{path.name}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # A hard link, because rename() would replace a key that another process has just put there.
            os.link(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.unlink(temporary, dir_fd=folder)
        os.fsync(folder)
    finally:
        os.close(folder)


def _make_folders(folder: Path) -> None:
    # mkdir(parents=True) would give the parents the umask's mode.
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
