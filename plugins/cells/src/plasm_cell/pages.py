"""Pages that each cell writes, copied when it is forked and not when it writes to them.

A page that a device may be using is copied by the fork itself (``copy_present_page`` in Linux's ``mm/memory.c``, since
5.9), for a third of what two faults cost: the cell's, and its warm parent's when that goes on. To the kernel a page is
such a one while it is registered as a buffer of an io_uring. This ring is made disabled, so nothing is ever read or
written through it. Where the kernel has none (before 5.10), or lets this process have none, pages are copied as they
are written.

Sources: io_uring_setup(2), io_uring_register(2), proc_pid_maps(5), proc_pid_pagemap(5). The system calls have the same
numbers on every architecture.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

_IO_URING_SETUP = 425
_IO_URING_REGISTER = 427
_REGISTER_BUFFERS = 0
_DISABLED = 1 << 6
_PARAMETERS = struct.Struct("=III108x")
"""``struct io_uring_params``: the entries of both queues, and flags."""
_MOST_BUFFERS = 1024
_LARGEST_REGION = 64 << 20
"""Bytes. Larger ones are no part of an interpreter."""
_FLAGS, _OWN = 1 << 63 | 1 << 61 | 1 << 56, 1 << 63 | 1 << 56
"""Of an entry of the page map: present, of a file, mapped once; what an anonymous page of one process has of them."""
_ENTRY_BYTES = 8

Region = tuple[int, int, bool]
"""Of memory: its first byte, the one after its last, whether no file stands behind it."""


def copy_when_forked(run: Callable[[], None]) -> bool:
    """From now on each fork copies what `run` writes to; that is called in a process of its own.

    Whether it can be done here; nothing is raised where not.
    """
    with contextlib.suppress(OSError):
        written = _written(run, list(_regions()))
        # Before Linux 6.5 a buffer has no file behind it.
        return _register(written) or _register([region for region in written if region[2]])
    return False


def _regions() -> Iterator[Region]:
    """The private and writable ones of this process."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            addresses, rights, _, _, inode, *_ = line.split()
            start, end = (int(address, 16) for address in addresses.split("-"))
            if rights == "rw-p" and end - start <= _LARGEST_REGION:
                yield start, end, inode == "0"


def _written(run: Callable[[], None], regions: Sequence[Region]) -> list[Region]:
    """What of `regions` a process has to itself that was forked and called `run`. Raises :exc:`OSError`."""
    size = os.sysconf("SC_PAGE_SIZE")
    reading, writing = os.pipe()
    with open(reading, "rb") as answer:
        try:
            pid = os.fork()
            if not pid:
                _tell(run, regions, size, writing)
        finally:
            os.close(writing)
        entries = memoryview(answer.read())
    os.waitpid(pid, 0)
    if len(entries) != sum(end - start for start, end, _ in regions) // size * _ENTRY_BYTES:
        raise OSError("the process ended before it told what it wrote")
    pages = ((page, anonymous) for start, end, anonymous in regions for page in range(start, end, size))
    found: list[Region] = []
    for (page, anonymous), entry in zip(pages, entries.cast("Q"), strict=True):
        if entry & _FLAGS == _OWN:
            start = page
            if found and found[-1][1:] == (page, anonymous):
                start = found.pop()[0]
            found.append((start, page + size, anonymous))
    return found


def _tell(run: Callable[[], None], regions: Iterable[Region], size: int, writing: int) -> None:
    """Write the page map of `regions` after `run`. Does not return."""
    try:
        run()
        page_map = os.open("/proc/self/pagemap", os.O_RDONLY)
        for start, end, _ in regions:
            rest = os.pread(page_map, (end - start) // size * _ENTRY_BYTES, start // size * _ENTRY_BYTES)
            while rest:
                rest = rest[os.write(writing, rest) :]
    finally:
        os._exit(0)


def _register(regions: Sequence[Region]) -> bool:
    """Whether the kernel took them. The ring stays open for as long as the process lives."""
    pointer, number = ctypes.c_void_p, ctypes.c_long
    libc = ctypes.CDLL(None)
    setup = ctypes.CFUNCTYPE(number, number, number, pointer)(("syscall", libc))
    register = ctypes.CFUNCTYPE(number, number, number, number, pointer, number)(("syscall", libc))
    parameters = ctypes.create_string_buffer(_PARAMETERS.pack(0, 0, _DISABLED))
    ring = setup(_IO_URING_SETUP, 1, ctypes.addressof(parameters))
    if ring < 0:
        return False
    taken = regions[:_MOST_BUFFERS]
    vectors = ctypes.create_string_buffer(b"".join(struct.pack("=QQ", start, end - start) for start, end, _ in taken))
    if register(_IO_URING_REGISTER, ring, _REGISTER_BUFFERS, ctypes.addressof(vectors), len(taken)) < 0:
        os.close(ring)
        return False
    return True
