"""Reading directories."""

from __future__ import annotations

import struct
from typing import Final

from . import rights
from .errors import SUCCESS
from .guest import Guest
from .inodes import FIRST_COOKIE, Directory

_DIRENT: Final = struct.Struct("<QQIB3x")


class Directories(Guest):
    def fd_readdir(self, fd: int, pointer: int, length: int, cookie: int, out: int) -> int:
        """Entries from `cookie` on until the buffer is full, the last one cut where it does not fit."""
        directory = self._directory(fd, rights.FD_READDIR)
        buffer = self._piece(pointer, length)
        self._check(out, 4)
        used = 0
        while used < length:
            entry = _entry(directory, cookie)
            if entry is None:
                break
            cookie, record = entry
            part = record[: length - used]
            buffer[used : used + len(part)] = part
            used += len(part)
        self._put(out, "<I", used)
        return SUCCESS


def _entry(directory: Directory, cookie: int) -> tuple[int, bytes] | None:
    """The entry at `cookie` as the guest gets it, and the cookie of the next one."""
    if cookie < FIRST_COOKIE:
        name, inode = (b".", directory) if cookie == 0 else (b"..", directory.parent)
        return cookie + 1, _DIRENT.pack(cookie + 1, inode.number, len(name), inode.type) + name
    found = directory.entry_from(cookie)
    if found is None:
        return None
    name, entry, following = found
    return following, _DIRENT.pack(following, entry.number, len(name), entry.type) + name
