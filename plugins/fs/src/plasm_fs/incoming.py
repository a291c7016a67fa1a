"""Files that are being written, and the removal of those whose writer was killed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from contextlib import suppress

from plasm.ports import Corrupt, Digest, StoreError, TooLarge
from plasm_fs.budget import hexadecimal
from plasm_fs.folders import READ

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Arrival:
    """One file that is being written, by one thread at a time."""

    def __init__(self, folder: int, digest: Digest, size: int) -> None:
        """Begin a file in the folder that is open as `folder`. Raises :exc:`OSError`."""
        self.digest = digest
        self.size = size
        self.written = 0
        self._folder = folder
        self._hash = hashlib.sha256()
        self._descriptor: int | None
        self._descriptor, self.name = _begin(folder)

    def check(self, more: int) -> None:
        """Raises :exc:`TooLarge` or :exc:`StoreError` where `more` bytes cannot be written."""
        if self._descriptor is None:
            raise StoreError("this content is not being written any more")
        if self.written + more > self.size:
            raise TooLarge(f"more than the {self.size} bytes that were announced")

    def append(self, piece: bytes) -> None:
        """Write `piece`, which was checked. Raises :exc:`OSError`."""
        assert self._descriptor is not None
        self.written += len(piece)
        self._hash.update(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self) -> None:
        """All is written: verify it and see it on the disk. Raises :exc:`Corrupt` or :exc:`OSError`."""
        assert self._descriptor is not None
        if self.written != self.size or self._hash.hexdigest() != hexadecimal(self.digest):
            raise Corrupt(f"what was written is not {self.digest} with {self.size} bytes")
        os.fsync(self._descriptor)

    def close(self, *, remove: bool) -> None:
        """Let go of the file. Idempotent; never raises."""
        if self._descriptor is not None:
            with suppress(OSError):
                if remove:
                    os.unlink(self.name, dir_fd=self._folder)
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)


def _begin(folder: int) -> tuple[int, str]:
    while True:
        name = secrets.token_hex(16)
        descriptor = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            # The lock lasts as long as the writer lives: it tells a sweeper that this file is not left over.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor, name
        except BlockingIOError:
            pass  # a sweeper came between, and removes it
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def sweep(folder: int) -> None:
    """Remove what killed writers left in the folder that is open as `folder`. Raises :exc:`OSError`."""
    for name in os.listdir(folder):
        try:
            descriptor = os.open(name, READ, dir_fd=folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            os.unlink(name, dir_fd=folder)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=folder)
        except (BlockingIOError, FileNotFoundError, IsADirectoryError):
            continue
        finally:
            os.close(descriptor)
