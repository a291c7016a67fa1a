"""Files that the command line names: read under a cap, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import plasm.files
from plasm.errors import PlasmError


class InputUnusable(PlasmError):
    """A file, or standard input, cannot be taken as it is."""


def read_file(path: Path, most: int) -> bytes:
    """The file's bytes, `most` of them at most. Raises :exc:`InputUnusable`."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputUnusable(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > most:
        raise InputUnusable(f"{path} is larger than {most} bytes, which is the most that is taken")
    return data


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """As :func:`plasm.files.write_whole`. Raises :exc:`InputUnusable`."""
    try:
        plasm.files.write_whole(path, data, mode)
    except OSError as error:
        raise InputUnusable(f"{path} cannot be written: {error.strerror or error}") from None
