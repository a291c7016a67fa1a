"""Standard input that is passed on to a program: read to its end, and said where that does not come."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Final

from plasm.cli.files import InputUnusable

NOTICE_SECONDS: Final = 1.0
"""Without a byte and without an end, before somebody is told what is waited for. A pipe that stays open, as CI runners
and supervisors leave it, never ends."""
NOTICE: Final = (
    "plasm: reading standard input to its end, for the program;"
    " --stdin FILE takes a file instead, and --stdin /dev/null nothing"
)
_READ_BYTES: Final = 64 * 1024


def read_stdin(most: int, *, quiet: bool = False, notice_seconds: float = NOTICE_SECONDS) -> bytes:
    """All of standard input; nothing where it cannot be read. Raises :exc:`InputUnusable` above `most` bytes.

    Where `notice_seconds` pass without anything, :data:`NOTICE` is said once on stderr, unless `quiet`.
    """
    try:
        data = _read(most + 1, None if quiet else notice_seconds)
    except OSError:
        return b""
    if len(data) > most:
        raise InputUnusable(f"standard input is longer than {most} bytes, which is the most that is taken")
    return data


def _read(most: int, notice_seconds: float | None) -> bytes:
    try:
        descriptor = sys.stdin.fileno()
    except io.UnsupportedOperation:
        return sys.stdin.buffer.read(most)
    received = bytearray()
    while len(received) < most:
        if notice_seconds is not None and not select.select([descriptor], [], [], notice_seconds)[0]:
            print(NOTICE, file=sys.stderr, flush=True)
            notice_seconds = None
        piece = os.read(descriptor, min(_READ_BYTES, most - len(received)))
        if not piece:
            break
        received += piece
    return bytes(received)
