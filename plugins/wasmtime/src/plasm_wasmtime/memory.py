"""Linear memories that this process allocates for the engine, so that a refused growth is known when the run ends.

The engine's own limiter refuses in silence, and no verdict could tell a program that crashed for want of memory from
one that crashed. Each memory is a reservation of address space with guards on both sides, made accessible as it grows;
it never moves. Source: ``wasmtime/config.h``, ``wasmtime_memory_creator_t``.
"""

from __future__ import annotations

import ctypes
from typing import Any

from plasm_cell.engine import starve

from .library import FINALIZER, GET_MEMORY, GROW_MEMORY, NEW_MEMORY, SIZE, LinearMemory, MemoryCreator

_PROT_NONE = 0
_PROT_READ_WRITE = 3
_MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x02 | 0x20 | 0x4000
_MAP_FAILED = ctypes.c_void_p(-1).value
_MADE_BYTES = ctypes.sizeof(LinearMemory)


class Region:
    """One linear memory: accessible from `base` for `size` bytes."""

    __slots__ = ("base", "mapped_bytes", "mapping", "reserved", "size")

    def __init__(self, mapping: int, mapped_bytes: int, base: int, reserved: int, size: int) -> None:
        self.mapping = mapping
        self.mapped_bytes = mapped_bytes
        self.base = base
        self.reserved = reserved
        self.size = size


class Memories:
    """The memories of the one run that is going on in this process."""

    def __init__(self, library: Any) -> None:
        self.regions: dict[int, Region] = {}
        self.limit = 0
        self.total = 0
        self.refused = False
        self.peak = 0
        libc = ctypes.CDLL(None, use_errno=True)
        self._mmap = libc.mmap
        self._mmap.restype = ctypes.c_void_p
        self._mmap.argtypes = (
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_long,
        )
        self._munmap = libc.munmap
        self._munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self._mprotect = libc.mprotect
        self._mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        self._new_error = library.wasmtime_error_new
        self._get_callback = GET_MEMORY(self._get)
        self._grow_callback = GROW_MEMORY(self._grow)
        self._free_callback = FINALIZER(self._free)
        self._creator = MemoryCreator(None, NEW_MEMORY(self._new), FINALIZER(0))
        self._made = LinearMemory(None, self._get_callback, self._grow_callback, self._free_callback)
        self._made_address = ctypes.addressof(self._made)

    def begin(self, limit: int) -> None:
        """The next run may have `limit` bytes of memory in all."""
        self.limit = limit
        self.refused = False
        self.peak = 0

    @property
    def creator(self) -> Any:
        """For ``wasmtime_config_host_memory_creator_set``; engines of that configuration allocate here."""
        return ctypes.byref(self._creator)

    def _error(self, message: bytes) -> int:
        pointer: int | None = self._new_error(message)
        assert pointer is not None
        return pointer

    def _claim(self, more: int) -> bool:
        total = self.total + more
        if total > self.limit:
            self.refused = True
            return False
        self.peak = max(self.peak, total)
        return True

    def _new(self, _env: Any, _type: Any, minimum: int, _maximum: int, reserved: int, guard: int, out: int) -> int:
        try:
            if not self._claim(minimum):
                return self._error(b"more memory than the limit at the start")
            reserved = max(reserved, minimum)
            total = guard + reserved + guard
            mapping = self._mmap(None, total, _PROT_NONE, _MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0)
            if mapping in (None, _MAP_FAILED):
                starve()
            base = mapping + guard
            if minimum and self._mprotect(base, minimum, _PROT_READ_WRITE):
                starve()
            self.regions[base] = Region(mapping, total, base, reserved, minimum)
            self.total += minimum
            self._made.env = base
            ctypes.memmove(out, self._made_address, _MADE_BYTES)
        except BaseException:
            # Such as MemoryError: returning normally would hand the engine a memory that is not there.
            starve()
        return 0

    def _get(self, base: int, size: int, capacity: int) -> int:
        region = self.regions[base]
        SIZE.from_address(size).value = region.size
        SIZE.from_address(capacity).value = region.reserved
        return region.base

    def _grow(self, base: int, size: int) -> int:
        try:
            region = self.regions[base]
            if size > region.reserved or not self._claim(size - region.size):
                return self._error(b"more memory than the limit")
            if self._mprotect(base, size, _PROT_READ_WRITE):
                starve()
            self.total += size - region.size
            region.size = size
        except BaseException:
            starve()
        return 0

    def _free(self, base: int) -> None:
        region = self.regions.pop(base)
        self.total -= region.size
        self._munmap(region.mapping, region.mapped_bytes)
