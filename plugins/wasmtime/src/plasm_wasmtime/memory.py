"""Linear memories that this process allocates for the engine, so that a refused growth is known when the run ends.

The engine's own limiter refuses in silence, and no verdict could tell a program that crashed for want of memory from
one that crashed. Each memory is a reservation of address space with guards on both sides, made accessible as it grows;
it never moves. Source: ``wasmtime/config.h``, ``wasmtime_memory_creator_t``.
"""

from __future__ import annotations

import ctypes
from typing import Any

from wasmtime import _ffi as ffi

_PROT_NONE = 0
_PROT_READ_WRITE = 3
_MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x02 | 0x20 | 0x4000
_MAP_FAILED = ctypes.c_void_p(-1).value

_NEW_MEMORY_ARGUMENTS = (
    ctypes.c_void_p,
    ctypes.POINTER(ffi.wasm_memorytype_t),
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.POINTER(ffi.wasmtime_linear_memory_t),
)


class InterfaceChanged(Exception):
    """The installed engine's memory interface is not the one this was written for; calling it would corrupt memory."""


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

    def __init__(self) -> None:
        self.regions: dict[int, Region] = {}
        self.limit = 0
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
        self._get_callback = ffi.wasmtime_memory_get_callback_t(self._get)
        self._grow_callback = ffi.wasmtime_memory_grow_callback_t(self._grow)
        self._free_callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._free)
        self._new_callback = ffi.wasmtime_new_memory_callback_t(self._new)

    def begin(self, limit: int) -> None:
        """The next run may have `limit` bytes of memory in all."""
        self.limit = limit
        self.refused = False
        self.peak = 0

    def install(self, config: Any) -> None:
        """Make engines of `config` allocate here. Raises :exc:`InterfaceChanged`."""
        if tuple(ffi.wasmtime_new_memory_callback_t._argtypes_) != _NEW_MEMORY_ARGUMENTS:
            raise InterfaceChanged("this release of wasmtime has another interface for memories")
        creator = ffi.wasmtime_memory_creator_t(None, self._new_callback, ctypes.CFUNCTYPE(None, ctypes.c_void_p)(0))
        ffi.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(creator))

    def _error(self, message: bytes) -> int:
        pointer = ctypes.cast(ffi.wasmtime_error_new(message), ctypes.c_void_p).value
        assert pointer is not None
        return pointer

    def _claim(self, more: int) -> bool:
        total = sum(region.size for region in self.regions.values()) + more
        if total > self.limit:
            self.refused = True
            return False
        self.peak = max(self.peak, total)
        return True

    def _new(self, _env: Any, _type: Any, minimum: int, _maximum: int, reserved: int, guard: int, out: Any) -> int:
        try:
            if not self._claim(minimum):
                return self._error(b"more memory than the limit at the start")
            reserved = max(reserved, minimum)
            total = guard + reserved + guard
            mapping = self._mmap(None, total, _PROT_NONE, _MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0)
            if mapping in (None, _MAP_FAILED):
                return self._error(b"no address space for a memory")
            base = mapping + guard
            if minimum and self._mprotect(base, minimum, _PROT_READ_WRITE):
                self._munmap(mapping, total)
                self.refused = True
                return self._error(b"no memory at the start")
            self.regions[base] = Region(mapping, total, base, reserved, minimum)
            out[0].env = base
            out[0].get_memory = self._get_callback
            out[0].grow_memory = self._grow_callback
            out[0].finalizer = self._free_callback
        except BaseException:
            # Returning normally would hand the engine a memory that is not there.
            return self._error(b"the memory could not be made")
        return 0

    def _get(self, base: int, size: Any, capacity: Any) -> int:
        region = self.regions[base]
        size[0] = region.size
        capacity[0] = region.reserved
        return region.base

    def _grow(self, base: int, size: int) -> int:
        try:
            region = self.regions[base]
            if size > region.reserved or not self._claim(size - region.size):
                return self._error(b"more memory than the limit")
            if self._mprotect(base, size, _PROT_READ_WRITE):
                self.refused = True
                return self._error(b"no more memory")
            region.size = size
        except BaseException:
            return self._error(b"the memory could not grow")
        return 0

    def _free(self, base: int) -> None:
        region = self.regions.pop(base)
        self._munmap(region.mapping, region.mapped_bytes)
