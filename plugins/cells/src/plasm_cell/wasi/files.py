"""The contents of open files."""

from __future__ import annotations

from typing import Final

from . import rights
from .descriptors import OpenDevice, OpenFile, OpenInode
from .errors import FBIG, INVAL, NODEV, NOSPC, NOTCAPABLE, SPIPE, SUCCESS, Failure
from .guest import Guest
from .inodes import DeviceKind
from .volume import LARGEST_FILE

APPEND: Final = 1 << 0
_SET, _CURRENT, _END = range(3)
_MOST_ADVICE: Final = 5
"""``noreuse``, the last of the witx ``advice``."""
MOST_OF_DEVICE: Final = (1 << 25) - 1
"""Bytes that one call reads from a device, so that no call takes long: what Linux gives at once of ``/dev/urandom``."""
_PIECE: Final = 1 << 16


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

    def _device(self, fd: int, needed: int) -> OpenDevice | None:
        """The open device that has all of `needed`; ``None`` where the descriptor is of something else."""
        descriptor = self._descriptors.get(fd)
        if not isinstance(descriptor, OpenDevice):
            return None
        if descriptor.base & needed != needed:
            raise Failure(NOTCAPABLE)
        return descriptor

    def _read_device(self, device: OpenDevice, vectors: int, count: int, out: int) -> int:
        pieces = self._vectors(vectors, count)
        self._check(out, 4)
        kind = device.inode.kind
        left = 0 if kind is DeviceKind.NULL else MOST_OF_DEVICE
        for piece in pieces:
            piece = piece[:left]
            left -= len(piece)
            for start in range(0, len(piece), _PIECE):
                part = piece[start : start + _PIECE]
                part[:] = self._random.take(len(part)) if kind is DeviceKind.RANDOM else bytes(len(part))
        self._put(out, "<I", 0 if kind is DeviceKind.NULL else MOST_OF_DEVICE - left)
        return SUCCESS

    def _write_device(self, vectors: int, count: int, out: int) -> int:
        total = sum(map(len, self._vectors(vectors, count)))
        self._put(out, "<I", min(total, 0xFFFFFFFF))
        return SUCCESS

    def fd_pread(self, fd: int, vectors: int, count: int, offset: int, out: int) -> int:
        if device := self._device(fd, rights.FD_READ | rights.FD_SEEK):
            return INVAL if offset > LARGEST_FILE else self._read_device(device, vectors, count, out)
        file = self._file(fd, rights.FD_READ | rights.FD_SEEK)
        if offset > LARGEST_FILE:
            return INVAL
        pieces = self._vectors(vectors, count)
        self._check(out, 4)
        self._put(out, "<I", self._fetch(file, offset, pieces) & 0xFFFFFFFF)
        return SUCCESS

    def fd_pwrite(self, fd: int, vectors: int, count: int, offset: int, out: int) -> int:
        if self._device(fd, rights.FD_WRITE | rights.FD_SEEK):
            return INVAL if offset > LARGEST_FILE else self._write_device(vectors, count, out)
        file = self._file(fd, rights.FD_WRITE | rights.FD_SEEK)
        if offset > LARGEST_FILE:
            return INVAL
        pieces = self._vectors(vectors, count)
        self._check(out, 4)
        self._put(out, "<I", self._store(file, offset, pieces) & 0xFFFFFFFF)
        return SUCCESS

    def fd_seek(self, fd: int, delta: int, whence: int, out: int) -> int:
        file = self._device(fd, 0) or self._file(fd, 0)
        if delta > LARGEST_FILE:
            delta -= 1 << 64
        needed = rights.FD_SEEK | (rights.FD_TELL if whence == _CURRENT and not delta else 0)
        if not file.base & needed:
            return NOTCAPABLE
        if isinstance(file, OpenDevice):
            # As on Linux: a device takes every move and stays where it is.
            if whence > _END:
                return INVAL
            self._put(out, "<Q", 0)
            return SUCCESS
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
        file = self._device(fd, 0) or self._file(fd, 0)
        if not file.base & (rights.FD_SEEK | rights.FD_TELL):
            return NOTCAPABLE
        self._put(out, "<Q", file.offset if isinstance(file, OpenFile) else 0)
        return SUCCESS

    def fd_allocate(self, fd: int, offset: int, length: int) -> int:
        if self._device(fd, rights.FD_ALLOCATE):
            return NODEV
        file = self._file(fd, rights.FD_ALLOCATE)
        if offset > LARGEST_FILE or not 0 < length <= LARGEST_FILE:
            return INVAL
        if offset + length > file.inode.size:
            self._volume.resize(file.inode, offset + length)
        else:
            # What was allocated can be written.
            self._volume.make_own(file.inode)
        return SUCCESS

    def fd_filestat_set_size(self, fd: int, size: int) -> int:
        if self._device(fd, rights.FD_FILESTAT_SET_SIZE):
            return INVAL
        self._volume.resize(self._file(fd, rights.FD_FILESTAT_SET_SIZE, stream=INVAL).inode, size)
        return SUCCESS

    def _synchronize(self, fd: int, right: int) -> int:
        descriptor = self._descriptors.find(fd)
        if not isinstance(descriptor, OpenInode):
            return INVAL
        return SUCCESS if descriptor.base & right else NOTCAPABLE

    def fd_datasync(self, fd: int) -> int:
        return self._synchronize(fd, rights.FD_DATASYNC)

    def fd_sync(self, fd: int) -> int:
        return self._synchronize(fd, rights.FD_SYNC)

    def fd_advise(self, fd: int, offset: int, length: int, advice: int) -> int:
        descriptor = self._descriptors.find(fd)
        if not isinstance(descriptor, OpenInode):
            return SPIPE
        if not descriptor.base & rights.FD_ADVISE:
            return NOTCAPABLE
        if advice > _MOST_ADVICE or max(offset, length) > LARGEST_FILE:
            return INVAL
        return SUCCESS
