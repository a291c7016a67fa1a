"""What a cell writes to is copied when it is forked, where the kernel can do that, and else as it is written."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

_PROGRAM = textwrap.dedent("""
    import mmap, os, sys
    from plasm_cell import pages

    PAGE = mmap.PAGESIZE
    memory = mmap.mmap(-1, 64 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(64):
        memory[page * PAGE] = 1

    def write(first):
        for page in range(first, 64, 2):
            memory[page * PAGE] = 2

    def faults(first):
        '''Of a forked process that writes to each second page.'''
        pid = os.fork()
        if not pid:
            write(first)
            os._exit(0)
        return os.wait4(pid, 0)[2].ru_minflt
""")


_NOT_HERE = 77


def _run(program: str) -> int:
    # In a process of its own: what is registered stays so.
    status = subprocess.run([sys.executable, "-c", _PROGRAM + textwrap.dedent(program)], timeout=30).returncode
    assert status in (0, _NOT_HERE)
    return status


def test_pages_that_a_run_writes_to_are_found_and_no_others() -> None:
    _run("""
        import ctypes
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        found = pages._written(lambda: write(0), list(pages._regions()))
        own = {page for first, end, _ in found for page in range(first, end, PAGE)}
        assert {start + page * PAGE for page in range(64)} & own == {start + page * PAGE for page in range(0, 64, 2)}
        assert memory[0] == 1, "it was another process that wrote"
    """)


def test_a_fork_copies_what_a_run_writes_to_and_not_the_rest() -> None:
    program = f"""
        if not pages.copy_when_forked(lambda: write(0)):
            sys.exit({_NOT_HERE})
        assert faults(1) - faults(0) > 24, "of 32 pages the ones cost a fault each and the others none"
        assert faults(1) - faults(0) > 24, "and so it is with the next fork"
    """
    if _run(program) == _NOT_HERE:
        pytest.skip("there is no io_uring here, or no memory to lock")


def test_without_an_io_uring_pages_are_copied_as_they_are_written() -> None:
    _run("""
        pages._IO_URING_SETUP = -1
        assert not pages.copy_when_forked(lambda: write(0))
        assert abs(faults(1) - faults(0)) < 8
    """)


def test_a_run_that_fails_is_no_reason_to_fail() -> None:
    _run("assert not pages.copy_when_forked(lambda: os._exit(1))")
