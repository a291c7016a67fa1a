"""What the tree of files consists of: regular files, directories, symbolic links and devices, all in memory."""

from __future__ import annotations

from bisect import bisect_left
from enum import Enum
from typing import Final

UNKNOWN: Final = 0
CHARACTER_DEVICE: Final = 2
DIRECTORY: Final = 3
REGULAR_FILE: Final = 4
SYMBOLIC_LINK: Final = 7

FIRST_COOKIE: Final = 2
"""Of the entries of a directory; 0 stands for ``.`` and 1 for ``..``."""


class Inode:
    """Times are nanoseconds of the realtime clock. `links` counts names, `opens` descriptors."""

    __slots__ = ("atim", "ctim", "links", "mtim", "number", "opens")
    type: int = UNKNOWN

    def __init__(self, number: int, now: int) -> None:
        self.number = number
        self.links = 0
        self.opens = 0
        self.atim = self.mtim = self.ctim = now

    @property
    def size(self) -> int:
        return 0


class File(Inode):
    """`data` of an input is a view of bytes that are somebody else's until it is written to."""

    __slots__ = ("data",)
    type = REGULAR_FILE

    def __init__(self, number: int, now: int, content: memoryview | None = None) -> None:
        super().__init__(number, now)
        self.data: bytearray | memoryview = bytearray() if content is None else content

    @property
    def size(self) -> int:
        return len(self.data)


class Symlink(Inode):
    __slots__ = ("target",)
    type = SYMBOLIC_LINK

    def __init__(self, number: int, now: int, target: bytes) -> None:
        super().__init__(number, now)
        self.target = target

    @property
    def size(self) -> int:
        return len(self.target)


class DeviceKind(Enum):
    """What reading gives: nothing, zeros, or random bytes. Each takes whatever is written."""

    NULL = "null"
    ZERO = "zero"
    RANDOM = "random"


class Device(Inode):
    __slots__ = ("kind",)
    type = CHARACTER_DEVICE

    def __init__(self, number: int, now: int, kind: DeviceKind) -> None:
        super().__init__(number, now)
        self.kind = kind


class Directory(Inode):
    """Entries keep the order in which they were made.

    Each has a cookie, never given twice in one directory, so that a reader who stopped somewhere goes on with what is
    left there, whatever was made or removed since.
    """

    __slots__ = ("_cookies", "_names", "_next", "entries", "name", "parent")
    type = DIRECTORY

    def __init__(self, number: int, now: int) -> None:
        super().__init__(number, now)
        self.parent: Directory = self
        self.name = b""
        self.entries: dict[bytes, tuple[Inode, int]] = {}
        self._next = FIRST_COOKIE
        # Parallel and sorted: the cookies of the entries and their names.
        self._cookies: list[int] = []
        self._names: list[bytes] = []

    def get(self, name: bytes) -> Inode | None:
        entry = self.entries.get(name)
        return None if entry is None else entry[0]

    def insert(self, name: bytes, inode: Inode) -> None:
        self.entries[name] = inode, self._next
        self._cookies.append(self._next)
        self._names.append(name)
        self._next += 1
        inode.links += 1
        if isinstance(inode, Directory):
            inode.parent = self
            inode.name = name

    def remove(self, name: bytes) -> Inode:
        inode, cookie = self.entries.pop(name)
        place = bisect_left(self._cookies, cookie)
        del self._cookies[place], self._names[place]
        inode.links -= 1
        return inode

    def entry_from(self, cookie: int) -> tuple[bytes, Inode, int] | None:
        """The first entry whose cookie is at least `cookie`: name, inode, and the cookie of what comes after it."""
        place = bisect_left(self._cookies, cookie)
        if place == len(self._cookies):
            return None
        name = self._names[place]
        return name, self.entries[name][0], self._cookies[place] + 1
