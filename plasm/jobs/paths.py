"""Paths of input and output files as they stand in jobs and receipts."""

from __future__ import annotations

import itertools
from collections.abc import Collection

MAX_PATH_BYTES = 1024
MAX_COMPONENT_BYTES = 255
_NO_COMPONENTS = frozenset((b"", b".", b".."))


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
    components = encoded.split(b"/")
    if not _NO_COMPONENTS.isdisjoint(components):
        raise InvalidPath("a path is relative and has no empty, . and .. components")
    if max(map(len, components)) > MAX_COMPONENT_BYTES:
        raise InvalidPath(f"a component of a path has more than {MAX_COMPONENT_BYTES} bytes")
    return encoded


def check_no_file_in_place_of_a_folder(paths: Collection[bytes]) -> None:
    """Refuse `a` beside `a/b`: no file system holds both. Raises :exc:`InvalidPath`."""
    # With NUL, which no path holds, for the slash what is in a folder sorts right behind it. A set of all folders would
    # grow with the square of a path's length: strangers send half a megabyte of paths.
    ordered = sorted(path.replace(b"/", b"\0") for path in paths)
    if any(following.startswith(path + b"\0") for path, following in itertools.pairwise(ordered)):
        raise InvalidPath("a file stands where another one needs a folder")
