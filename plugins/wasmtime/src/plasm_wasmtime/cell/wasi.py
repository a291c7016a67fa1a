"""WASI preview 1 for a program with arguments, an environment and three streams, and no files.

Source: the witx of ``wasi_snapshot_preview1``. What a program without preopened directories can do is implemented;
every other function exists, so that modules link, and reports that there is no such descriptor or no such call.
The layer knows no engine: it works on a view of the guest's memory, which the engine's side keeps current, and every
access goes through a check of its bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from .clocks import CLOCKS, Clock, Random

SUCCESS: Final = 0
BADF: Final = 8
FAULT: Final = 21
INVAL: Final = 28
NOSYS: Final = 52
SPIPE: Final = 70
NOTCAPABLE: Final = 76

_STDIN: Final = 0
_MOST_VECTORS: Final = 1024
_MOST_SUBSCRIPTIONS: Final = 1024
_PIECE: Final = 65536
_LARGEST_U64: Final = (1 << 64) - 1

_EVENT_CLOCK, _EVENT_READ, _EVENT_WRITE = range(3)
_SUBSCRIPTION: Final = 48
_EVENT: Final = struct.Struct("<QHB5xQH6x")
_ABSOLUTE: Final = 1

_RIGHT_READ: Final = 1 << 1
_RIGHT_WRITE: Final = 1 << 6
_RIGHT_POLL: Final = 1 << 27

FUNCTIONS: Final[Mapping[str, str]] = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_dir_name": "iii",
    "fd_prestat_get": "ii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "random_get": "ii",
    "sched_yield": "",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
"""Parameters of each function: ``i`` is an i32 and ``I`` an i64. All but ``proc_exit`` return an error number."""

MODULE: Final = "wasi_snapshot_preview1"


class Fault(Exception):
    """The guest named memory that it does not have."""


class Stop(Exception):
    """The run ends here."""


class Exit(Stop):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class OutputFull(Stop):
    """The guest wrote more than it may; what fits was kept."""


class Wasi:
    """One run's view of the outside. Methods named as in :data:`FUNCTIONS` take what the guest passed, unsigned."""

    def __init__(
        self,
        *,
        args: Sequence[bytes],
        env: Sequence[bytes],
        stdin: bytes,
        output_bytes: int,
        clock: Clock,
        random: Random,
    ) -> None:
        self.memory = memoryview(b"")
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._args = args
        self._env = env
        self._stdin = memoryview(stdin)
        self._room = output_bytes
        self._clock = clock
        self._random = random
        self._streams = {0: 0, 1: 1, 2: 2}

    # --- memory -------------------------------------------------------------------------------------------------------

    def _piece(self, pointer: int, length: int) -> memoryview:
        end = pointer + length
        if end > len(self.memory):
            raise Fault
        return self.memory[pointer:end]

    def _put(self, pointer: int, layout: str, *values: int) -> None:
        try:
            struct.pack_into(layout, self.memory, pointer, *values)
        except struct.error:
            raise Fault from None

    def _get(self, pointer: int, layout: str) -> tuple[int, ...]:
        try:
            return struct.unpack_from(layout, self.memory, pointer)
        except struct.error:
            raise Fault from None

    def _vectors(self, pointer: int, count: int) -> Iterator[memoryview]:
        for start, length in struct.iter_unpack("<II", self._piece(pointer, 8 * count)):
            yield self._piece(start, length)

    # --- arguments and environment ------------------------------------------------------------------------------------

    def _list(self, items: Sequence[bytes], pointers: int, buffer: int) -> int:
        for index, item in enumerate(items):
            self._put(pointers + 4 * index, "<I", buffer)
            self._piece(buffer, len(item) + 1)[:] = item + b"\0"
            buffer += len(item) + 1
        return SUCCESS

    def _list_sizes(self, items: Sequence[bytes], count: int, size: int) -> int:
        self._put(count, "<I", len(items))
        self._put(size, "<I", sum(len(item) + 1 for item in items))
        return SUCCESS

    def args_get(self, pointers: int, buffer: int) -> int:
        return self._list(self._args, pointers, buffer)

    def args_sizes_get(self, count: int, size: int) -> int:
        return self._list_sizes(self._args, count, size)

    def environ_get(self, pointers: int, buffer: int) -> int:
        return self._list(self._env, pointers, buffer)

    def environ_sizes_get(self, count: int, size: int) -> int:
        return self._list_sizes(self._env, count, size)

    # --- clocks and chance --------------------------------------------------------------------------------------------

    def clock_res_get(self, clock: int, out: int) -> int:
        if clock not in CLOCKS:
            return INVAL
        self._put(out, "<Q", self._clock.resolution(clock))
        return SUCCESS

    def clock_time_get(self, clock: int, _precision: int, out: int) -> int:
        if clock not in CLOCKS:
            return INVAL
        self._put(out, "<Q", min(self._clock.time(clock), _LARGEST_U64))
        return SUCCESS

    def random_get(self, pointer: int, length: int) -> int:
        target = self._piece(pointer, length)
        for offset in range(0, length, _PIECE):
            part = target[offset : offset + _PIECE]
            part[:] = self._random.take(len(part))
        return SUCCESS

    def sched_yield(self) -> int:
        return SUCCESS

    def poll_oneoff(self, subscriptions: int, events: int, count: int, out: int) -> int:
        """Ready descriptors and due clocks; where there are none, time goes on to the first clock that is due."""
        if not 0 < count <= _MOST_SUBSCRIPTIONS:
            return INVAL
        wanted = self._piece(subscriptions, _SUBSCRIPTION * count)
        self._piece(events, _EVENT.size * count)
        self._piece(out, 4)
        waits: list[tuple[int, int]] = []
        ready: list[tuple[int, int, int, int]] = []
        for start in range(0, len(wanted), _SUBSCRIPTION):
            userdata, kind, which, timeout, flags = struct.unpack_from("<QB7xI4xQ8xH", wanted, start)
            if kind == _EVENT_CLOCK:
                if which not in CLOCKS:
                    ready.append((userdata, INVAL, kind, 0))
                    continue
                if flags & _ABSOLUTE:
                    timeout = max(0, timeout - self._clock.time(which))
                waits.append((timeout, userdata))
            elif kind in (_EVENT_READ, _EVENT_WRITE):
                stream = self._streams.get(which)
                error = SUCCESS if stream is not None and (stream == _STDIN) == (kind == _EVENT_READ) else BADF
                nbytes = len(self._stdin) if kind == _EVENT_READ else 65536
                ready.append((userdata, error, kind, nbytes if error == SUCCESS else 0))
            else:
                return INVAL
        patience = 0 if ready else min(wait for wait, _ in waits)
        self._clock.sleep(patience)
        ready += [(userdata, SUCCESS, _EVENT_CLOCK, 0) for wait, userdata in waits if wait <= patience]
        for index, (userdata, error, kind, nbytes) in enumerate(ready):
            _EVENT.pack_into(self.memory, events + _EVENT.size * index, userdata, error, kind, nbytes, 0)
        self._put(out, "<I", len(ready))
        return SUCCESS

    # --- streams ------------------------------------------------------------------------------------------------------

    def fd_read(self, fd: int, vectors: int, count: int, out: int) -> int:
        if self._streams.get(fd) != _STDIN:
            return BADF
        if count > _MOST_VECTORS:
            return INVAL
        self._piece(out, 4)
        total = 0
        for piece in self._vectors(vectors, count):
            taken = self._stdin[: len(piece)]
            piece[: len(taken)] = taken
            self._stdin = self._stdin[len(taken) :]
            total += len(taken)
            if len(taken) < len(piece):
                break
        self._put(out, "<I", total)
        return SUCCESS

    def fd_write(self, fd: int, vectors: int, count: int, out: int) -> int:
        stream = self._streams.get(fd, _STDIN)
        if stream == _STDIN:
            return BADF
        if count > _MOST_VECTORS:
            return INVAL
        self._piece(out, 4)
        target = self.stdout if stream == 1 else self.stderr
        total = 0
        for piece in self._vectors(vectors, count):
            target += piece[: self._room]
            if len(piece) > self._room:
                self._room = 0
                raise OutputFull
            self._room -= len(piece)
            total += len(piece)
        self._put(out, "<I", total & 0xFFFFFFFF)
        return SUCCESS

    def fd_close(self, fd: int) -> int:
        return BADF if self._streams.pop(fd, None) is None else SUCCESS

    def fd_renumber(self, fd: int, to: int) -> int:
        if fd not in self._streams or to not in self._streams:
            return BADF
        self._streams[to] = self._streams[fd]
        if fd != to:
            del self._streams[fd]
        return SUCCESS

    def fd_fdstat_get(self, fd: int, out: int) -> int:
        stream = self._streams.get(fd)
        if stream is None:
            return BADF
        rights = _RIGHT_POLL | (_RIGHT_READ if stream == _STDIN else _RIGHT_WRITE)
        # File type 0, unknown, as for a pipe: a character device would pass for a terminal and be written line by line.
        self._put(out, "<BxHxxxxQQ", 0, 0, rights, 0)
        return SUCCESS

    def fd_fdstat_set_flags(self, fd: int, _flags: int) -> int:
        return SUCCESS if fd in self._streams else BADF

    def fd_fdstat_set_rights(self, fd: int, _base: int, _inheriting: int) -> int:
        return NOTCAPABLE if fd in self._streams else BADF

    def fd_filestat_get(self, fd: int, out: int) -> int:
        stream = self._streams.get(fd)
        if stream is None:
            return BADF
        self._put(out, "<QQQQQQQQ", 0, stream, 0, 1, 0, 0, 0, 0)
        return SUCCESS

    def _no_offset(self, fd: int, *_rest: int) -> int:
        return SPIPE if fd in self._streams else BADF

    def _not_on_a_stream(self, fd: int, *_rest: int) -> int:
        return INVAL if fd in self._streams else BADF

    def _no_directory(self, *_rest: int) -> int:
        return BADF

    def _absent(self, *_rest: int) -> int:
        return NOSYS

    fd_advise = fd_allocate = fd_pread = fd_pwrite = fd_seek = fd_tell = _no_offset
    fd_datasync = fd_sync = fd_filestat_set_size = fd_filestat_set_times = _not_on_a_stream
    fd_prestat_get = fd_prestat_dir_name = fd_readdir = _no_directory
    path_create_directory = path_filestat_get = path_filestat_set_times = _no_directory
    path_open = path_readlink = path_remove_directory = path_symlink = path_unlink_file = _no_directory
    path_link = path_rename = _no_directory
    sock_accept = sock_recv = sock_send = sock_shutdown = _absent
    proc_raise = _absent

    def proc_exit(self, code: int) -> int:
        raise Exit(code & 0xFF)


def call(wasi: Wasi, function: Callable[..., int], parameters: Sequence[int]) -> int:
    """The error number of one call. Raises :exc:`Stop` where the run ends in it."""
    try:
        return function(wasi, *parameters)
    except Fault:
        return FAULT
