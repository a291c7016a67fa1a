"""For tests that start many processes: what they share, what they may not leave behind, what dies with a node."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import anyio
import psutil
import pytest

_SETTLE_SECONDS = 5.0


@pytest.fixture(scope="session", autouse=True)
def shared_bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hundreds of short processes share what the first of them compiled, wherever the tests run."""
    before = sys.dont_write_bytecode, sys.pycache_prefix
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(tmp_path_factory.mktemp("bytecode"))
    yield
    sys.dont_write_bytecode, sys.pycache_prefix = before


def _descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {entry for entry in found if "/proc/" not in entry}


@contextmanager
def _leaves_nothing() -> Iterator[None]:
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    before = _descriptors()
    yield
    left = {child.pid for child in psutil.Process().children(recursive=True)} - children
    assert not left, f"processes stayed behind: {left}"
    # Threads of the test runner open and close some of their own.
    deadline = time.monotonic() + _SETTLE_SECONDS
    while (open_still := _descriptors() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not open_still, f"descriptors stayed behind: {open_still}"


@pytest.fixture
def leaves_nothing() -> Callable[[], AbstractContextManager[None]]:
    """``with leaves_nothing():`` fails where the block leaves a process or a descriptor behind."""
    return _leaves_nothing


async def pids_of_a_killed_node(program: str, seconds: float) -> list[int]:
    """Start `program`, which prints the pids of its children on one line within `seconds`, and kill it once it has."""
    node = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert node.stdout is not None
    try:
        with anyio.fail_after(seconds):
            line = await anyio.to_thread.run_sync(node.stdout.readline)
    finally:
        node.kill()
        node.wait()
        node.stdout.close()
    return [int(pid) for pid in line.split()]
