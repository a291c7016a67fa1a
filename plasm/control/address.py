"""Where the control socket is, and how bytes come from it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
from anyio.abc import ByteStream

from plasm.jobs.framing import FrameCut

SOCKET_NAME = "control.sock"
_LONGEST_ADDRESS = 100
"""A socket address holds 108 bytes, its end included."""


@contextlib.contextmanager
def control_address(folder: Path) -> Iterator[str]:
    """A path to the control socket in `folder` that fits into a socket address; good while the block runs."""
    path = str(folder / SOCKET_NAME)
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS or not Path("/proc/self/fd").is_dir():
        yield path
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


class ControlSource:
    """An anyio byte stream whose end is an empty read, as a frame reader wants it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """What has arrived, `max_bytes` at most; nothing at the end. Raises :exc:`FrameCut`."""
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise FrameCut(f"the control socket broke: {error}") from None
