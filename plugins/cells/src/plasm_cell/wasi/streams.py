"""Reading and writing in order, on streams and files; sockets, of which there are none."""

from __future__ import annotations

from . import rights
from .descriptors import OpenDevice, Stream
from .errors import BADF, FAULT, INVAL, NOTCAPABLE, NOTSOCK, SUCCESS
from .files import APPEND, Files
from .guest import MOST_VECTORS, U32, VECTOR
from .stops import OutputFull


class Streams(Files):
    def fd_write(self, fd: int, vectors: int, count: int, out: int) -> int:
        descriptor = self._descriptors.get(fd)
        if not isinstance(descriptor, Stream):
            return self._write_to_file(fd, vectors, count, out)
        sink = descriptor.sink
        if sink is None or not descriptor.base & rights.FD_WRITE:
            return NOTCAPABLE
        if count > MOST_VECTORS:
            return INVAL
        memory = self.memory
        size = len(memory)
        end = vectors + 8 * count
        if end > size or out + 4 > size:
            return FAULT
        # Read in place and not by _vectors(): this is the call that programs make most.
        total = 0
        for start, length in VECTOR.iter_unpack(memory[vectors:end]):
            if start + length > size:
                # Nothing was written where not everything can be.
                del sink[len(sink) - total :]
                self._room += total
                return FAULT
            if length > self._room:
                sink += memory[start : start + self._room]
                self._room = 0
                raise OutputFull
            sink += memory[start : start + length]
            self._room -= length
            total += length
        U32.pack_into(memory, out, total & 0xFFFFFFFF)
        return SUCCESS

    def _write_to_file(self, fd: int, vectors: int, count: int, out: int) -> int:
        if self._device(fd, rights.FD_WRITE):
            return self._write_device(vectors, count, out)
        file = self._file(fd, rights.FD_WRITE)
        pieces = self._vectors(vectors, count)
        self._check(out, 4)
        if file.flags & APPEND:
            file.offset = file.inode.size
        total = self._store(file, file.offset, pieces)
        file.offset += total
        self._put(out, "<I", total & 0xFFFFFFFF)
        return SUCCESS

    def fd_read(self, fd: int, vectors: int, count: int, out: int) -> int:
        descriptor = self._descriptors.get(fd)
        if isinstance(descriptor, Stream):
            if not descriptor.base & rights.FD_READ:
                return NOTCAPABLE
            pieces = self._vectors(vectors, count)
            self._check(out, 4)
            total = 0
            for piece in pieces:
                taken = descriptor.left[: len(piece)]
                piece[: len(taken)] = taken
                descriptor.left = descriptor.left[len(taken) :]
                total += len(taken)
        elif isinstance(descriptor, OpenDevice):
            if not descriptor.base & rights.FD_READ:
                return NOTCAPABLE
            return self._read_device(descriptor, vectors, count, out)
        else:
            file = self._file(fd, rights.FD_READ)
            pieces = self._vectors(vectors, count)
            self._check(out, 4)
            total = self._fetch(file, file.offset, pieces)
            file.offset += total
        self._put(out, "<I", total & 0xFFFFFFFF)
        return SUCCESS

    # --- sockets ------------------------------------------------------------------------------------------------------

    def _no_socket(self, fd: int, *_rest: int) -> int:
        return NOTSOCK if fd in self._descriptors else BADF

    sock_accept = sock_recv = sock_send = sock_shutdown = _no_socket
