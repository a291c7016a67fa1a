"""``path_open``."""

from __future__ import annotations

from typing import Final

from . import paths, rights
from .attributes import FLAGS, FOLLOW
from .descriptors import OpenDevice, OpenDirectory, OpenFile, OpenInode
from .errors import EXIST, INVAL, ISDIR, LOOP, NOENT, NOTCAPABLE, NOTDIR, SUCCESS, Failure
from .guest import Guest
from .inodes import Device, Directory, File, Inode

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
        if (base | inheriting) & ~descriptor.inheriting or not _may(descriptor, how, base, flags):
            return NOTCAPABLE
        path = self._path(pointer, length)
        self._check(out, 4)
        self._descriptors.check_room()
        inode = self._opened(descriptor.inode, path, bool(lookup), how, base)
        opened: OpenInode
        if isinstance(inode, File):
            opened = OpenFile(inode, base, flags)
        elif isinstance(inode, Directory):
            opened = OpenDirectory(inode, base, inheriting, flags)
        else:
            opened = OpenDevice(inode, base, flags)
        self._put(out, "<I", self._descriptors.add(opened))
        return SUCCESS

    def _opened(
        self, directory: Directory, path: bytes, follow: bool, how: int, base: int
    ) -> File | Directory | Device:
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
        if not isinstance(inode, (File, Device)):
            raise Failure(LOOP)
        if how & _TRUNCATE and isinstance(inode, File):
            self._volume.resize(inode, 0)
        return inode


def _may(directory: OpenDirectory, how: int, base: int, flags: int) -> bool:
    """Whether what is opened through the directory may be opened in this way.

    To create is the directory's own right. What is opened may be synchronized and emptied by what it can inherit as
    well, and who opens it for writing may empty it: Go opens directories without the rights that it takes for those of
    files, and then a file in them with ``creat`` and ``trunc``.
    """
    # `base` is among the inheriting rights, or the directory does not open anything with it.
    held, handed_down = directory.base, directory.inheriting
    either = held | handed_down
    cuts = held & rights.PATH_FILESTAT_SET_SIZE or handed_down & rights.FD_FILESTAT_SET_SIZE or base & rights.FD_WRITE
    return (
        (not how & _CREATE or bool(held & rights.PATH_CREATE_FILE))
        and (not how & _TRUNCATE or bool(cuts))
        and (not flags & _DSYNC or bool(either & (rights.FD_DATASYNC | rights.FD_SYNC)))
        and (not flags & (_RSYNC | _SYNC) or bool(either & rights.FD_SYNC))
    )
