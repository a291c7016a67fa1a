"""Making, linking, renaming and removing what directories hold."""

from __future__ import annotations

from . import paths, rights
from .attributes import FOLLOW
from .errors import EXIST, INVAL, ISDIR, NOENT, NOTDIR, NOTEMPTY, PERM, SUCCESS, Failure
from .guest import Guest
from .inodes import Directory, Symlink
from .paths import Place


class Entries(Guest):
    def _place(self, fd: int, needed: int, pointer: int, length: int) -> Place:
        return paths.locate(self._directory(fd, needed), self._path(pointer, length), follow=False)

    def path_create_directory(self, fd: int, pointer: int, length: int) -> int:
        place = self._place(fd, rights.PATH_CREATE_DIRECTORY, pointer, length)
        if place.inode is not None:
            return EXIST
        self._volume.make_directory(place.parent, place.name)
        return SUCCESS

    def path_symlink(self, pointer: int, length: int, fd: int, new_pointer: int, new_length: int) -> int:
        directory = self._directory(fd, rights.PATH_SYMLINK)
        target = self._path(pointer, length)
        if target.startswith(b"/"):
            return PERM
        place = paths.locate(directory, self._path(new_pointer, new_length), follow=False)
        self._check_vacant(place)
        self._volume.make_symlink(place.parent, place.name, target)
        return SUCCESS

    def path_readlink(self, fd: int, pointer: int, length: int, buffer: int, size: int, out: int) -> int:
        directory = self._directory(fd, rights.PATH_READLINK)
        inode = paths.look_up(directory, self._path(pointer, length), follow=False)
        if not isinstance(inode, Symlink):
            return INVAL
        piece = self._piece(buffer, size)
        self._check(out, 4)
        target = inode.target[:size]
        piece[: len(target)] = target
        self._put(out, "<I", len(target))
        return SUCCESS

    def path_link(
        self,
        old_fd: int,
        flags: int,
        old_pointer: int,
        old_length: int,
        new_fd: int,
        new_pointer: int,
        new_length: int,
    ) -> int:
        old = self._directory(old_fd, rights.PATH_LINK_SOURCE)
        new = self._directory(new_fd, rights.PATH_LINK_TARGET)
        if flags & ~FOLLOW:
            return INVAL
        inode = paths.look_up(old, self._path(old_pointer, old_length), follow=bool(flags))
        place = paths.locate(new, self._path(new_pointer, new_length), follow=False)
        self._check_vacant(place)
        if isinstance(inode, Directory):
            return PERM
        self._volume.link(place.parent, place.name, inode)
        return SUCCESS

    def path_unlink_file(self, fd: int, pointer: int, length: int) -> int:
        place = self._place(fd, rights.PATH_UNLINK_FILE, pointer, length)
        if place.inode is None:
            return NOENT
        if isinstance(place.inode, Directory):
            return ISDIR
        if place.slash:
            return NOTDIR
        self._volume.unlink(place.parent, place.name)
        return SUCCESS

    def path_remove_directory(self, fd: int, pointer: int, length: int) -> int:
        place = self._place(fd, rights.PATH_REMOVE_DIRECTORY, pointer, length)
        if place.inode is None:
            return NOENT
        if not isinstance(place.inode, Directory):
            return NOTDIR
        if place.dots:
            return INVAL if place.name == b"." else NOTEMPTY
        self._volume.unlink(place.parent, place.name)
        return SUCCESS

    def path_rename(
        self, old_fd: int, old_pointer: int, old_length: int, new_fd: int, new_pointer: int, new_length: int
    ) -> int:
        old_directory = self._directory(old_fd, rights.PATH_RENAME_SOURCE)
        new_directory = self._directory(new_fd, rights.PATH_RENAME_TARGET)
        old = paths.locate(old_directory, self._path(old_pointer, old_length), follow=False)
        new = paths.locate(new_directory, self._path(new_pointer, new_length), follow=False)
        if old.dots or new.dots:
            return INVAL
        if old.inode is None:
            return NOENT
        if not isinstance(old.inode, Directory) and (old.slash or new.slash):
            return NOTDIR
        self._volume.rename(old.parent, old.name, new.parent, new.name)
        return SUCCESS

    def _check_vacant(self, place: Place) -> None:
        """That a name other than a directory's can be made there."""
        if place.inode is not None:
            raise Failure(EXIST)
        if place.slash:
            raise Failure(NOENT)
