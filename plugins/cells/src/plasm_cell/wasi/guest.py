"""What every part of the layer works on: the guest's memory, its descriptors, its files, its clock."""

from __future__ import annotations

import struct
from typing import Final

from . import paths
from .clocks import Clock, Random
from .descriptors import Descriptors, OpenDirectory, OpenFile
from .errors import BADF, FAULT, INVAL, ISDIR, NAMETOOLONG, NOTCAPABLE, NOTDIR, SPIPE, Failure
from .inodes import Directory
from .stops import Stop
from .volume import Volume

MOST_VECTORS: Final = 1024
VECTOR: Final = struct.Struct("<II")
U32: Final = struct.Struct("<I")


class Guest:
    """Parts are subclasses; their methods are the functions of preview 1.

    Such a method takes what the guest passed, unsigned, and returns an error number or raises
    :exc:`~.errors.Failure`. Every access to the guest's memory is checked, and what a call writes there is checked
    before the call changes anything.
    """

    memory: memoryview
    stdout: bytearray
    stderr: bytearray
    stop: Stop | None
    calls_left: int
    _room: int
    _descriptors: Descriptors
    _volume: Volume
    _clock: Clock
    _random: Random

    # --- memory -------------------------------------------------------------------------------------------------------

    def _piece(self, pointer: int, length: int) -> memoryview:
        end = pointer + length
        if end > len(self.memory):
            raise Failure(FAULT)
        return self.memory[pointer:end]

    def _check(self, pointer: int, length: int) -> None:
        if pointer + length > len(self.memory):
            raise Failure(FAULT)

    def _put(self, pointer: int, layout: str, *values: int) -> None:
        try:
            struct.pack_into(layout, self.memory, pointer, *values)
        except struct.error:
            raise Failure(FAULT) from None

    def _vectors(self, pointer: int, count: int) -> list[memoryview]:
        """All of them, each checked, before a byte moves."""
        if count > MOST_VECTORS:
            raise Failure(INVAL)
        memory = self.memory
        size = len(memory)
        end = pointer + 8 * count
        if end > size:
            raise Failure(FAULT)
        pieces = []
        for start, length in VECTOR.iter_unpack(memory[pointer:end]):
            if start + length > size:
                raise Failure(FAULT)
            pieces.append(memory[start : start + length])
        return pieces

    def _path(self, pointer: int, length: int) -> bytes:
        if length > paths.LONGEST_PATH:
            raise Failure(NAMETOOLONG)
        return paths.check(bytes(self._piece(pointer, length)))

    # --- descriptors --------------------------------------------------------------------------------------------------

    def _file(self, fd: int, rights: int, stream: int = SPIPE) -> OpenFile:
        """The open file that has all of `rights`; `stream` is the error number for a descriptor that is a stream."""
        descriptor = self._descriptors.get(fd)
        if isinstance(descriptor, OpenFile):
            if descriptor.base & rights != rights:
                raise Failure(NOTCAPABLE)
            return descriptor
        if descriptor is None:
            raise Failure(BADF)
        raise Failure(ISDIR if isinstance(descriptor, OpenDirectory) else stream)

    def _open_directory(self, fd: int, rights: int) -> OpenDirectory:
        descriptor = self._descriptors.get(fd)
        if isinstance(descriptor, OpenDirectory):
            if descriptor.base & rights != rights:
                raise Failure(NOTCAPABLE)
            return descriptor
        raise Failure(BADF if descriptor is None else NOTDIR)

    def _directory(self, fd: int, rights: int) -> Directory:
        return self._open_directory(fd, rights).inode
