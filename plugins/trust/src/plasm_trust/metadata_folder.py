"""The folder ``metadata`` of a repository: which files it may hold, and what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from plasm_trust import layout
from plasm_trust.parsing import MAX_BYTES
from plasm_trust.whole_files import read_capped

MAX_FILES: Final = 100_000
"""Roots of all times included."""


def metadata_names(metadata: Path) -> Iterator[str]:
    """The names of files in the folder `metadata` that are names of metadata. Raises :exc:`OSError`."""
    with os.scandir(metadata) as entries:
        for count, entry in enumerate(entries):
            if count >= MAX_FILES:
                raise OSError(f"{metadata} holds more than {MAX_FILES} files")
            try:
                yield layout.metadata_file(entry.name)
            except layout.BadName:
                continue


def version_of(name: str) -> tuple[str, int]:
    """``("stable", 3)`` of ``3.stable.json``; version 0 where the name has none."""
    number, _, rest = name.partition(".")
    return (rest.removesuffix(".json"), int(number)) if number.isdigit() else (name.removesuffix(".json"), 0)


def first_root(metadata: Path) -> int | None:
    """The lowest version of a root in the folder `metadata`; ``None`` where there is none. Raises :exc:`OSError`."""
    try:
        versions = [version_of(name) for name in metadata_names(metadata)]
    except FileNotFoundError:
        return None
    return min((version for role, version in versions if role == "root"), default=None)


def read_metadata(metadata: Path, name: str) -> bytes | None:
    """The file `name` of the folder `metadata`; ``None`` where there is none. Raises :exc:`OSError`."""
    try:
        return read_capped(metadata / layout.metadata_file(name), max(MAX_BYTES.values()))
    except FileNotFoundError:
        return None
