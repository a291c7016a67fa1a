"""What a program wrote, on its way to a terminal.

It may colour its text, and neither steer the terminal nor pose as us. A pipe or a file gets the very bytes.
"""

from __future__ import annotations

import re
from typing import BinaryIO, Final

from plasm.errors import printable

_OURS: Final = re.compile(
    r"^(?=(?:\x1b\[[0-9;]{0,32}m|[^\S\n])*+(?:plasmd?|phase-[a-z]+):)", re.MULTILINE | re.IGNORECASE
)
"""Lines that read as if we had written them; what stands before that on the lines above is not looked at again."""
_KEPT: Final = re.compile(r"(\x1b\[[0-9;]{0,32}m|[\n\t])")
"""Line ends, tabs, and what sets colours and nothing else (ECMA-48, SGR)."""
_RESET: Final = "\x1b[0m"
MARK: Final = "program: "
"""Stands before a line of the program's that looks like one of ours."""


def write_output(stream: BinaryIO, data: bytes) -> None:
    """Write `data`, the output of a program, to `stream` and flush it; made harmless where that is a terminal."""
    stream.write(for_terminal(data) if stream.isatty() else data)
    stream.flush()


def for_terminal(data: bytes) -> bytes:
    """`data` with every character escaped that a terminal would obey, but for colours, which end with it."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    parts = _KEPT.split(_OURS.sub(MARK, text))
    # Every other one is what the pattern found.
    shown = "".join(part if number % 2 else printable(part) for number, part in enumerate(parts))
    coloured = any(part.startswith("\x1b") for part in parts[1::2])
    return (shown + _RESET * coloured).encode("utf-8", "backslashreplace")
