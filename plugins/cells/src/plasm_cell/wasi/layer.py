"""The layer as a whole: one run's view of the outside."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from . import rights
from .attributes import Attributes
from .clocks import Clock, Random
from .descriptors import Descriptors, OpenDirectory, Stream
from .directories import Directories
from .entries import Entries
from .errors import FAULT, Failure
from .opening import Opening
from .polling import Polling
from .process import Process
from .stops import HostCallsSpent, Stop
from .streams import Streams
from .volume import Volume

MODULE: Final = "wasi_snapshot_preview1"

VERSION: Final = "plasm-preview1/3"
"""Names the rules by which clock, random bytes and files behave; they change results, so they are versioned."""

NO_INPUTS: Final[Mapping[str, bytes | memoryview]] = MappingProxyType({})

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


_EDGES: Final = (ArithmeticError, BufferError, LookupError, TypeError, ValueError, struct.error)
"""What Python raises for values that do not fit, which come from the guest. What comes from the machine is not among
them: want of memory, a system call that fails, a stack that is too short."""


class Wasi(Process, Streams, Attributes, Directories, Opening, Entries, Polling):
    """Methods named as in :data:`FUNCTIONS` take what the guest passed, unsigned; :func:`call` calls them.

    `memory` is a view of the guest's memory, which the engine keeps current. `inputs` are paths without a leading
    slash; a :exc:`ValueError` says that such a tree cannot be made of them.
    """

    def __init__(
        self,
        *,
        args: Sequence[bytes],
        env: Sequence[bytes],
        stdin: bytes | memoryview,
        output_bytes: int,
        host_calls: int,
        clock: Clock,
        random: Random,
        inputs: Mapping[str, bytes | memoryview] = NO_INPUTS,
        file_bytes: int = 0,
    ) -> None:
        self.memory = memoryview(bytearray())
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.stop: Stop | None = None
        """How the run ended, where it ended inside a host call."""
        self.calls_left = host_calls
        self._args = args
        self._env = env
        self._room = output_bytes
        self._clock = clock
        self._random = random
        self._volume = Volume(inputs, file_bytes, clock.now)
        self._descriptors = Descriptors()
        nothing = memoryview(b"")
        for descriptor in (
            Stream(0, memoryview(stdin), None),
            Stream(1, nothing, self.stdout),
            Stream(2, nothing, self.stderr),
            OpenDirectory(self._volume.root, rights.ALL, rights.ALL, preopened=b"/"),
        ):
            self._descriptors.add(descriptor)

    def files(self) -> dict[str, bytes]:
        """The regular files in ``/out``: path below it → content, sorted by path. Two names of one file share it.

        Look at :attr:`output_size` first: what is here need not fit into the output.
        """
        contents: dict[int, bytes] = {}
        files = {}
        for path, file in self._volume.files():
            if file.number not in contents:
                contents[file.number] = bytes(file.data)
            files[path.decode()] = contents[file.number]
        return files

    @property
    def lacked_file_bytes(self) -> bool:
        """Whether a change to a file was refused since `file_bytes` were taken."""
        return self._volume.lacked_bytes

    @property
    def output_size(self) -> int:
        """Bytes of stdout, stderr and the files in ``/out`` together."""
        return len(self.stdout) + len(self.stderr) + sum(file.size for _, file in self._volume.files())


def call(wasi: Wasi, function: Callable[..., int], parameters: Sequence[int]) -> int:
    """The error number of one call of a method of :class:`Wasi`, such as ``Wasi.fd_write``, which it counts.

    Where the run ends in it, it keeps how in :attr:`Wasi.stop` and raises that :exc:`Stop`.
    """
    try:
        wasi.calls_left -= 1
        if wasi.calls_left < 0:
            raise HostCallsSpent
        return function(wasi, *parameters)
    except Failure as failure:
        return failure.number
    except _EDGES:
        # Of arguments that nobody thought of. The same code runs for every engine, so it is the same on each.
        return FAULT
    except Stop as stop:
        wasi.stop = stop
        raise
