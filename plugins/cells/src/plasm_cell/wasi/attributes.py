"""What descriptors and files say of themselves, and closing and renumbering."""

from __future__ import annotations

from typing import Final

from . import paths, rights
from .descriptors import Descriptor, OpenDirectory, OpenInode, Stream
from .errors import BADF, INVAL, NAMETOOLONG, NOTCAPABLE, SUCCESS, Failure
from .guest import Guest
from .inodes import Inode

FOLLOW: Final = 1
FLAGS: Final = 0x1F
"""All ``fdflags``: append, dsync, nonblock, rsync, sync."""

_ATIM, _ATIM_NOW, _MTIM, _MTIM_NOW = (1 << bit for bit in range(4))
_TIMES: Final = 15
_DEVICE: Final = 1
_FDSTAT: Final = "<BxHxxxxQQ"
_FILESTAT: Final = "<QQB7xQQQQQ"


class Attributes(Guest):
    # --- descriptors --------------------------------------------------------------------------------------------------

    def fd_close(self, fd: int) -> int:
        self._let_go(self._descriptors.take(fd))
        return SUCCESS

    def fd_renumber(self, fd: int, to: int) -> int:
        self._descriptors.find(fd)
        self._descriptors.find(to)
        if fd != to:
            self._let_go(self._descriptors.move(fd, to))
        return SUCCESS

    def fd_fdstat_get(self, fd: int, out: int) -> int:
        descriptor = self._descriptors.find(fd)
        self._put(out, _FDSTAT, descriptor.type, descriptor.flags, descriptor.base, descriptor.inheriting)
        return SUCCESS

    def fd_fdstat_set_flags(self, fd: int, flags: int) -> int:
        descriptor = self._descriptors.find(fd)
        if not descriptor.base & rights.FD_FDSTAT_SET_FLAGS:
            return NOTCAPABLE
        if flags & ~FLAGS:
            return INVAL
        descriptor.flags = flags
        return SUCCESS

    def fd_fdstat_set_rights(self, fd: int, base: int, inheriting: int) -> int:
        descriptor = self._descriptors.find(fd)
        if base & ~descriptor.base or inheriting & ~descriptor.inheriting:
            return NOTCAPABLE
        descriptor.base, descriptor.inheriting = base, inheriting
        return SUCCESS

    def fd_prestat_get(self, fd: int, out: int) -> int:
        name = self._preopened(fd)
        self._put(out, "<BxxxI", 0, len(name))
        return SUCCESS

    def fd_prestat_dir_name(self, fd: int, pointer: int, length: int) -> int:
        name = self._preopened(fd)
        if length < len(name):
            return NAMETOOLONG
        self._piece(pointer, len(name))[:] = name
        return SUCCESS

    def _preopened(self, fd: int) -> bytes:
        descriptor = self._descriptors.get(fd)
        if not isinstance(descriptor, OpenDirectory) or descriptor.preopened is None:
            raise Failure(BADF)
        return descriptor.preopened

    def _let_go(self, descriptor: Descriptor) -> None:
        """Give back what only this descriptor held."""
        if isinstance(descriptor, OpenInode):
            descriptor.inode.opens -= 1
            self._volume.release(descriptor.inode)

    # --- files --------------------------------------------------------------------------------------------------------

    def fd_filestat_get(self, fd: int, out: int) -> int:
        descriptor = self._descriptors.find(fd)
        if not descriptor.base & rights.FD_FILESTAT_GET:
            return NOTCAPABLE
        if isinstance(descriptor, OpenInode):
            return self._put_filestat(descriptor.inode, out)
        number = descriptor.number if isinstance(descriptor, Stream) else 0
        self._put(out, _FILESTAT, 0, number, descriptor.type, 1, 0, 0, 0, 0)
        return SUCCESS

    def path_filestat_get(self, fd: int, flags: int, pointer: int, length: int, out: int) -> int:
        return self._put_filestat(self._look_up(fd, rights.PATH_FILESTAT_GET, flags, pointer, length), out)

    def fd_filestat_set_times(self, fd: int, atim: int, mtim: int, flags: int) -> int:
        descriptor = self._descriptors.find(fd)
        if not isinstance(descriptor, OpenInode):
            return INVAL
        if not descriptor.base & rights.FD_FILESTAT_SET_TIMES:
            return NOTCAPABLE
        return self._set_times(descriptor.inode, atim, mtim, flags)

    def path_filestat_set_times(
        self, fd: int, flags: int, pointer: int, length: int, atim: int, mtim: int, times: int
    ) -> int:
        inode = self._look_up(fd, rights.PATH_FILESTAT_SET_TIMES, flags, pointer, length)
        return self._set_times(inode, atim, mtim, times)

    def _look_up(self, fd: int, needed: int, flags: int, pointer: int, length: int) -> Inode:
        directory = self._directory(fd, needed)
        if flags & ~FOLLOW:
            raise Failure(INVAL)
        return paths.look_up(directory, self._path(pointer, length), follow=bool(flags))

    def _put_filestat(self, inode: Inode, out: int) -> int:
        self._put(
            out,
            _FILESTAT,
            *(_DEVICE, inode.number, inode.type, inode.links, inode.size),
            *(inode.atim, inode.mtim, inode.ctim),
        )
        return SUCCESS

    def _set_times(self, inode: Inode, atim: int, mtim: int, flags: int) -> int:
        if flags & ~_TIMES or (flags & _ATIM and flags & _ATIM_NOW) or (flags & _MTIM and flags & _MTIM_NOW):
            return INVAL
        now = self._clock.now()
        if flags & (_ATIM | _ATIM_NOW):
            inode.atim = atim if flags & _ATIM else now
        if flags & (_MTIM | _MTIM_NOW):
            inode.mtim = mtim if flags & _MTIM else now
        inode.ctim = now
        return SUCCESS
