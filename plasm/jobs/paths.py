"""Paths of input and output files as they stand in jobs and receipts."""

from __future__ import annotations

from collections.abc import Collection

MAX_PATH_BYTES = 1024
MAX_COMPONENT_BYTES = 255


class InvalidPath(ValueError):
    """The text is no such path; the message is one line and does not hold the text."""


def is_folder(path: str) -> bool:
    """Whether the path of an input is that of a folder in which there is nothing: it ends with a slash."""
    return path.endswith("/")


def check_path(path: str, max_bytes: int = MAX_PATH_BYTES) -> bytes:
    """The UTF-8 bytes of a relative path without empty, ``.`` and ``..`` components. Raises :exc:`InvalidPath`."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise InvalidPath("a path cannot be written as UTF-8") from None
    if len(encoded) > max_bytes:
        raise InvalidPath(f"a path has {len(encoded)} bytes, and {max_bytes} are allowed")
    if b"\0" in encoded:
        raise InvalidPath("a NUL stands in a path")
    for component in encoded.split(b"/"):
        if component in (b"", b".", b".."):
            raise InvalidPath("a path is relative and has no empty, . and .. components")
        if len(component) > MAX_COMPONENT_BYTES:
            raise InvalidPath(f"a component of a path has more than {MAX_COMPONENT_BYTES} bytes")
    return encoded


def check_no_file_in_place_of_a_folder(paths: Collection[bytes]) -> None:
    """Refuse `a` beside `a/b`: no file system holds both. Raises :exc:`InvalidPath`."""
    folders = {path[:at] for path in paths for at, byte in enumerate(path) if byte == 0x2F}
    if not folders.isdisjoint(paths):
        raise InvalidPath("a file stands where another one needs a folder")
