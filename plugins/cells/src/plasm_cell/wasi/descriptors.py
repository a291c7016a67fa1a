"""Open descriptors: the three streams, files, devices and directories."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from . import rights
from .errors import BADF, MFILE, Failure
from .inodes import CHARACTER_DEVICE, DIRECTORY, REGULAR_FILE, UNKNOWN, Device, Directory, File, Inode

MOST_DESCRIPTORS: Final = 1024


class Descriptor:
    """`base` holds for calls with the descriptor, `inheriting` for those that are opened through it."""

    __slots__ = ("base", "flags", "inheriting")
    # Unknown, as for a pipe: a character device would pass for a terminal and be written line by line.
    type: int = UNKNOWN

    def __init__(self, base: int, inheriting: int, flags: int = 0) -> None:
        self.base = base
        self.inheriting = inheriting
        self.flags = flags


class Stream(Descriptor):
    """`number` is the one that it had at the start: 0, 1 or 2."""

    __slots__ = ("left", "number", "sink")

    def __init__(self, number: int, source: memoryview, sink: bytearray | None) -> None:
        super().__init__(rights.OF_INPUT if sink is None else rights.OF_OUTPUT, 0)
        self.number = number
        self.left = source
        self.sink = sink


class OpenInode(Descriptor):
    """Of something that stands, or stood, in the tree."""

    __slots__ = ("inode",)
    inode: Inode


class OpenFile(OpenInode):
    __slots__ = ("offset",)
    inode: File
    type = REGULAR_FILE

    def __init__(self, inode: File, base: int, flags: int) -> None:
        super().__init__(base & rights.OF_FILES, 0, flags)
        self.inode = inode
        self.offset = 0


class OpenDevice(OpenInode):
    """It has the rights of a file, those to seek and to tell too: without them C libraries take it for a terminal."""

    __slots__ = ()
    inode: Device
    type = CHARACTER_DEVICE

    def __init__(self, inode: Device, base: int, flags: int) -> None:
        super().__init__(base & rights.OF_FILES, 0, flags)
        self.inode = inode


class OpenDirectory(OpenInode):
    """`preopened` is the name of one that was open at the start."""

    __slots__ = ("preopened",)
    inode: Directory
    type = DIRECTORY

    def __init__(
        self, inode: Directory, base: int, inheriting: int, flags: int = 0, preopened: bytes | None = None
    ) -> None:
        super().__init__(base & rights.OF_DIRECTORIES, inheriting, flags)
        self.inode = inode
        self.preopened = preopened


class Descriptors(dict[int, Descriptor]):
    """Number → descriptor. A new one gets the lowest number that is free."""

    def __init__(self) -> None:
        super().__init__()
        self._free: list[int] = []
        self._next = 0

    def check_room(self) -> None:
        """Raises :exc:`~.errors.Failure` where no more can be opened."""
        if len(self) >= MOST_DESCRIPTORS:
            raise Failure(MFILE)

    def add(self, descriptor: Descriptor) -> int:
        """Its number. Raises :exc:`~.errors.Failure`."""
        self.check_room()
        if self._free:
            number = heappop(self._free)
        else:
            number = self._next
            self._next += 1
        self[number] = descriptor
        if isinstance(descriptor, OpenInode):
            descriptor.inode.opens += 1
        return number

    def move(self, number: int, to: int) -> Descriptor:
        """Put one descriptor in the place of another: the one that was there."""
        replaced = self[to]
        self[to] = self.take(number)
        return replaced

    def find(self, number: int) -> Descriptor:
        descriptor = self.get(number)
        if descriptor is None:
            raise Failure(BADF)
        return descriptor

    def take(self, number: int) -> Descriptor:
        """Free the number: what had it."""
        descriptor = self.find(number)
        del self[number]
        heappush(self._free, number)
        return descriptor
