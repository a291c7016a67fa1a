"""What a cell takes of the C library's heap lies together, whatever its warm parent left free."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_after_the_gaps_are_filled_nothing_comes_from_one_that_was_there() -> None:
    # In a process of its own: what is taken is never given back.
    program = textwrap.dedent("""
        import ctypes
        from plasm_cell.heap import fill_gaps

        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        libc.malloc.argtypes = (ctypes.c_size_t,)
        libc.free.argtypes = (ctypes.c_void_p,)
        sizes = (24, 100, 700, 3000, 20_000)
        taken = [libc.malloc(size) for _ in range(50) for size in sizes]
        gaps = taken[::2]
        for gap in gaps:
            libc.free(gap)
        assert any(libc.malloc(size) <= max(gaps) for size in sizes), "without it they come from there"
        fill_gaps()
        assert all(libc.malloc(size) > max(gaps) for size in sizes for _ in range(10))
    """)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
