"""Files that the command line names: read under a cap, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

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
    """A file that appears whole or not at all. Raises :exc:`InputUnusable`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputUnusable(f"{path} cannot be written: {error.strerror or error}") from None
