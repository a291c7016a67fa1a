"""``path_open``."""

from __future__ import annotations

from typing import Final

from . import paths, rights
from .attributes import FLAGS, FOLLOW
from .descriptors import OpenDirectory, OpenFile
from .errors import EXIST, INVAL, ISDIR, LOOP, NOENT, NOTCAPABLE, NOTDIR, ROFS, SUCCESS, Failure
from .guest import Guest
from .inodes import Directory, File, Inode

_CREATE, _DIRECTORY, _EXCLUSIVE, _TRUNCATE = (1 << bit for bit in range(4))
_OPEN_FLAGS: Final = 15
_DSYNC, _RSYNC, _SYNC = 1 << 1, 1 << 3, 1 << 4


class Opening(Guest):
    def path_open(
        self,
        fd: int,
        lookup: int,
        pointer: int,
        length: int,
        how: int,
        base: int,
        inheriting: int,
        flags: int,
        out: int,
    ) -> int:
        descriptor = self._open_directory(fd, rights.PATH_OPEN)
        if lookup & ~FOLLOW or how & ~_OPEN_FLAGS or flags & ~FLAGS:
            return INVAL
        if how & _DIRECTORY and how & (_CREATE | _EXCLUSIVE | _TRUNCATE):
            return INVAL
        if (base | inheriting) & ~descriptor.inheriting or not _may(descriptor.base, how, flags):
            return NOTCAPABLE
        path = self._path(pointer, length)
        self._check(out, 4)
        self._descriptors.check_room()
        inode = self._opened(descriptor.inode, path, bool(lookup), how, base)
        opened = (
            OpenFile(inode, base, flags) if isinstance(inode, File) else OpenDirectory(inode, base, inheriting, flags)
        )
        self._put(out, "<I", self._descriptors.add(opened))
        return SUCCESS

    def _opened(self, directory: Directory, path: bytes, follow: bool, how: int, base: int) -> File | Directory:
        creates = bool(how & _CREATE)
        exclusive = creates and bool(how & _EXCLUSIVE)
        # A link in the last place is where an exclusive open finds that something is there already.
        follow = (follow or (path.endswith(b"/") and not creates)) and not exclusive
        place = paths.locate(directory, path, follow=follow)
        inode: Inode | None = place.inode
        if inode is None:
            if not creates:
                raise Failure(NOENT)
            if place.slash:
                raise Failure(ISDIR)
            return self._volume.make_file(place.parent, place.name)
        if exclusive:
            raise Failure(EXIST)
        if isinstance(inode, Directory):
            if creates or how & _TRUNCATE or base & rights.FD_WRITE:
                raise Failure(ISDIR)
            return inode
        if place.slash or how & _DIRECTORY:
            raise Failure(NOTDIR)
        if not isinstance(inode, File):
            raise Failure(LOOP)
        if inode.readonly and (base & rights.FD_WRITE or how & _TRUNCATE):
            raise Failure(ROFS)
        if how & _TRUNCATE:
            self._volume.resize(inode, 0)
        return inode


def _may(held: int, how: int, flags: int) -> bool:
    """Whether a directory with these base rights may be opened from in this way."""
    return (
        (not how & _CREATE or bool(held & rights.PATH_CREATE_FILE))
        and (not how & _TRUNCATE or bool(held & rights.PATH_FILESTAT_SET_SIZE))
        and (not flags & _DSYNC or bool(held & (rights.FD_DATASYNC | rights.FD_SYNC)))
        and (not flags & (_RSYNC | _SYNC) or bool(held & rights.FD_SYNC))
    )
