"""The file that an artifact is put together in, beside where it will stand: whole pieces survive whatever happens."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.http import FetchError

MOST_PIECE_BYTES: Final = 64 * 2**20
"""What one piece may have: as much memory is taken for each source."""
_SPARE_BYTES = 16 * 2**20
"""Of the disk that stay free: a full disk harms more than this one file."""
_BUFFER = 4 * 2**20
_WRITTEN_AT_ONCE = 16 * 1024
"""For larger writes the kernel looks for long runs of free memory, which a virtual machine may have to ask its host
for: that costs more than the calls that are saved."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(FetchError):
    """There is no room for the artifact."""


class DiskFailed(FetchError):
    """The folder or the file in it cannot be used."""


class AlreadyFetching(FetchError):
    """Another process is fetching to the same place."""


class Partial:
    """An open, locked file of the artifact's size, whose pieces come in any order. Use :func:`open_partial`."""

    def __init__(self, artifact: Artifact, target: Path, path: Path, descriptor: int) -> None:
        self._artifact = artifact
        self._target = target
        self._path = path
        self._descriptor = descriptor

    def whole_pieces(self, stop: threading.Event) -> set[int]:
        """The numbers of the pieces that are there as they should be, from an earlier attempt; some, after `stop`."""
        there = set()
        buffer = memoryview(bytearray(min(self._artifact.piece_bytes, max(self._artifact.size, 1))))
        for number, digest in enumerate(self._artifact.pieces):
            start, length = span(self._artifact, number)
            if stop.is_set():
                break
            if self._is_hole(start, length):
                continue
            view = buffer[:length]
            if self._read(view, start) == length and hashlib.sha256(view).hexdigest() == digest:
                there.add(number)
        return there

    def _is_hole(self, start: int, length: int) -> bool:
        """Whether nothing was ever written there: then it need not be read, however large the file is."""
        try:
            return os.lseek(self._descriptor, start, os.SEEK_DATA) >= start + length
        except OSError as error:
            # ENXIO: there is no data from here to the end. Others: a file system that cannot tell.
            return error.errno == errno.ENXIO

    def write(self, data: memoryview, offset: int) -> None:
        """Put `data` at `offset`. Raises :exc:`DiskFull` or :exc:`DiskFailed`."""
        with self._failures():
            while data:
                written = os.pwrite(self._descriptor, data[:_WRITTEN_AT_ONCE], offset)
                data, offset = data[written:], offset + written

    def read(self, view: memoryview, offset: int) -> int:
        """Fill `view` from `offset` on; less than all of it only at the end. Raises :exc:`DiskFailed`."""
        with self._failures():
            return self._read(view, offset)

    def _read(self, view: memoryview, offset: int) -> int:
        done = 0
        while done < len(view) and (count := os.preadv(self._descriptor, [view[done:]], offset + done)):
            done += count
        return done

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes, and nothing after them."""
        with self._failures():
            os.ftruncate(self._descriptor, size)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written to it, however long it was made."""
        return self._is_hole(0, self.length)

    @property
    def length(self) -> int:
        """Bytes up to the file's end."""
        return os.fstat(self._descriptor).st_size

    def sha256(self, length: int, stop: threading.Event) -> hashlib._Hash:
        """Over the first `length` bytes; over fewer, after `stop`. Raises :exc:`DiskFailed`."""
        with self._failures():
            return digest_of(self._descriptor, length, stop)

    def reserve(self) -> None:
        """Make the file as long as the artifact, if the disk has room for what is missing. Raises :exc:`DiskFull`."""
        with self._failures():
            held = os.fstat(self._descriptor).st_blocks * 512
            disk = os.fstatvfs(self._descriptor)
            free = disk.f_bavail * disk.f_frsize
            missing = max(0, self._artifact.size - held)
            # A file system that is nothing but memory (ramfs, as an initramfs may be) gives no figures.
            if disk.f_blocks and missing and missing + min(_SPARE_BYTES, disk.f_blocks * disk.f_frsize // 20) > free:
                raise DiskFull(
                    f"{self._target} needs {missing} more bytes, and {free} are free in {self._target.parent}:"
                    " make room and fetch again, which goes on from here"
                )
            os.ftruncate(self._descriptor, self._artifact.size)

    def sync(self) -> None:
        """Have on the disk what was written so far. Raises :exc:`DiskFull` or :exc:`DiskFailed`."""
        with self._failures():
            os.fdatasync(self._descriptor)

    def publish(self) -> None:
        """Put the file in its place, whole and on the disk. Raises :exc:`DiskFailed`."""
        with self._failures():
            os.fchmod(self._descriptor, 0o644)
            os.fsync(self._descriptor)
            self._path.rename(self._target)
            folder = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Nothing in it is of use to a later attempt."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file and its lock. A thread that still writes fails, and writes to no other file instead."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _disk_error(self._target, error) from None


@contextlib.contextmanager
def open_partial(artifact: Artifact, target: Path) -> Iterator[Partial]:
    """The file ``.NAME.part`` beside `target`, with what an earlier attempt left in it, locked for this process.

    Where `target` is a symbolic link of ours or root's, the file that it leads to is meant, and the link stays. Raises
    :exc:`AlreadyFetching` or :exc:`DiskFailed`, also where `target` is a folder, a device or a file of somebody else.
    """
    try:
        target = settled(target)
        path = target.with_name(f".{target.name}.part")
        partial = Partial(artifact, target, path, _open_locked(path, target))
    except OSError as error:
        raise _disk_error(target, error) from None
    with contextlib.closing(partial):
        yield partial


def settled(target: Path) -> Path:
    """Where the file is, or will be, that `target` names: behind a symbolic link what that leads to.

    Raises :exc:`DiskFailed` where something is there that is not ours to replace, and :exc:`OSError`.
    """
    try:
        facts = target.lstat()
        if stat.S_ISLNK(facts.st_mode):
            if facts.st_uid not in (os.geteuid(), 0):
                raise DiskFailed(f"{target} is a symbolic link of user {facts.st_uid}: name what it leads to")
            target = Path(os.path.realpath(target))
            facts = target.lstat()
    except FileNotFoundError:
        return target
    if not stat.S_ISREG(facts.st_mode):
        raise DiskFailed(f"{target} is no file, and is not replaced by one: fetch to a file, and copy that there")
    if facts.st_uid != os.geteuid():
        raise DiskFailed(
            f"{target} belongs to user {facts.st_uid}, and is not replaced: remove it, or fetch as that user"
        )
    return target


def _open_locked(path: Path, target: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyFetching(f"another process is fetching {target}: wait for it, or end it") from None
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode) or opened.st_uid != os.geteuid() or opened.st_nlink > 1:
                raise DiskFailed(f"{path} is no file of ours: remove it")
            if os.path.samestat(opened, path.stat(follow_symlinks=False)):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        # Whoever had the lock has put the file into its place meanwhile: begin with a new one.
        os.close(descriptor)


def span(artifact: Artifact, number: int) -> tuple[int, int]:
    """Where piece `number` begins, and how long it is."""
    start = number * artifact.piece_bytes
    return start, min(artifact.piece_bytes, artifact.size - start)


def digest_of(descriptor: int, length: int, stop: threading.Event) -> hashlib._Hash:
    """SHA-256 over the first `length` bytes, or what there is of them by `stop`. Raises :exc:`OSError`."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(_BUFFER, max(length, 1))))
    offset = 0
    while offset < length and not stop.is_set():
        count = os.preadv(descriptor, [buffer[: min(len(buffer), length - offset)]], offset)
        if not count:
            break
        digest.update(buffer[:count])
        offset += count
    return digest


def _disk_error(target: Path, error: OSError) -> FetchError:
    why = error.strerror or str(error)
    if error.errno in _FULL:
        return DiskFull(f"{target}: {why}: make room and fetch again, which goes on from here")
    return DiskFailed(f"{target} cannot be written: {why}")
