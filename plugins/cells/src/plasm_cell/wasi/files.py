"""The contents of open files."""

from __future__ import annotations

from typing import Final

from . import rights
from .descriptors import OpenDirectory, OpenFile
from .errors import FBIG, INVAL, NOSPC, NOTCAPABLE, SPIPE, SUCCESS, Failure
from .guest import Guest
from .volume import LARGEST_FILE

APPEND: Final = 1 << 0
_SET, _CURRENT, _END = range(3)
_MOST_ADVICE: Final = 5
"""``noreuse``, the last of the witx ``advice``."""


class Files(Guest):
    def _fetch(self, file: OpenFile, offset: int, vectors: list[memoryview]) -> int:
        data = file.inode.data
        total = 0
        for piece in vectors:
            start = offset + total
            # A slice of a bytearray would be a copy.
            taken = memoryview(data)[start : start + len(piece)]
            piece[: len(taken)] = taken
            total += len(taken)
            if len(taken) < len(piece):
                break
        return total

    def _store(self, file: OpenFile, offset: int, vectors: list[memoryview]) -> int:
        """How much there was room for. Raises :exc:`~.errors.Failure` where that is nothing of something."""
        self._volume.writable(file.inode)
        total = 0
        for piece in vectors:
            if not piece:
                continue
            if offset + total + len(piece) > LARGEST_FILE:
                raise Failure(FBIG)
            try:
                stored = self._volume.write(file.inode, offset + total, piece)
            except Failure as failure:
                if failure.number == NOSPC and total:
                    break
                raise
            total += stored
            if stored < len(piece):
                break
        return total

    def fd_pread(self, fd: int, vectors: int, count: int, offset: int, out: int) -> int:
        file = self._file(fd, rights.FD_READ | rights.FD_SEEK)
        if offset > LARGEST_FILE:
            return INVAL
        pieces = self._vectors(vectors, count)
        self._check(out, 4)
        self._put(out, "<I", self._fetch(file, offset, pieces) & 0xFFFFFFFF)
        return SUCCESS

    def fd_pwrite(self, fd: int, vectors: int, count: int, offset: int, out: int) -> int:
        file = self._file(fd, rights.FD_WRITE | rights.FD_SEEK)
        if offset > LARGEST_FILE:
            return INVAL
        pieces = self._vectors(vectors, count)
        self._check(out, 4)
        self._put(out, "<I", self._store(file, offset, pieces) & 0xFFFFFFFF)
        return SUCCESS

    def fd_seek(self, fd: int, delta: int, whence: int, out: int) -> int:
        file = self._file(fd, 0)
        if delta > LARGEST_FILE:
            delta -= 1 << 64
        needed = rights.FD_SEEK | (rights.FD_TELL if whence == _CURRENT and not delta else 0)
        if not file.base & needed:
            return NOTCAPABLE
        if whence == _SET:
            start = 0
        elif whence == _CURRENT:
            start = file.offset
        elif whence == _END:
            start = file.inode.size
        else:
            return INVAL
        if not 0 <= start + delta <= LARGEST_FILE:
            return INVAL
        self._put(out, "<Q", start + delta)
        file.offset = start + delta
        return SUCCESS

    def fd_tell(self, fd: int, out: int) -> int:
        file = self._file(fd, 0)
        if not file.base & (rights.FD_SEEK | rights.FD_TELL):
            return NOTCAPABLE
        self._put(out, "<Q", file.offset)
        return SUCCESS

    def fd_allocate(self, fd: int, offset: int, length: int) -> int:
        file = self._file(fd, rights.FD_ALLOCATE)
        self._volume.writable(file.inode)
        if offset > LARGEST_FILE or not 0 < length <= LARGEST_FILE:
            return INVAL
        if offset + length > file.inode.size:
            self._volume.resize(file.inode, offset + length)
        return SUCCESS

    def fd_filestat_set_size(self, fd: int, size: int) -> int:
        self._volume.resize(self._file(fd, rights.FD_FILESTAT_SET_SIZE, stream=INVAL).inode, size)
        return SUCCESS

    def _synchronize(self, fd: int, right: int) -> int:
        descriptor = self._descriptors.find(fd)
        if not isinstance(descriptor, (OpenFile, OpenDirectory)):
            return INVAL
        return SUCCESS if descriptor.base & right else NOTCAPABLE

    def fd_datasync(self, fd: int) -> int:
        return self._synchronize(fd, rights.FD_DATASYNC)

    def fd_sync(self, fd: int) -> int:
        return self._synchronize(fd, rights.FD_SYNC)

    def fd_advise(self, fd: int, offset: int, length: int, advice: int) -> int:
        descriptor = self._descriptors.find(fd)
        if not isinstance(descriptor, (OpenFile, OpenDirectory)):
            return SPIPE
        if not descriptor.base & rights.FD_ADVISE:
            return NOTCAPABLE
        if advice > _MOST_ADVICE or max(offset, length) > LARGEST_FILE:
            return INVAL
        return SUCCESS
