"""The C library's heap, made such that what a cell takes of it lies together.

A warm parent's heap has gaps that its start left, hundreds of them on as many pages. A cell would be given these first,
and each costs it the copy of a page.
"""

from __future__ import annotations

import ctypes

_LARGEST = 1 << 16
"""Bytes. Far larger ones are not taken from the heap."""
_MOST = 20_000
"""Gaps that are filled."""


def fill_gaps() -> None:
    """Take for good whatever is free between what is taken: what is asked for from then on comes from the end."""
    libc = ctypes.CDLL(None)
    allocate = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(("malloc", libc))
    free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(("free", libc))
    # Larger than any gap that is there, so it is the first piece beyond them all; and smaller than what the C library
    # takes from elsewhere (M_MMAP_THRESHOLD), which is beyond everything.
    end = allocate(2 * _LARGEST - 4096) or 0
    left = _MOST
    size = _LARGEST
    while size >= 16 and left:
        taken = allocate(size - 8) or end
        if taken < end:
            left -= 1
            continue
        free(taken)
        size -= 1024 if size > 1024 else 16
    free(end)
