"""What a plain folder holds: ``CHANNEL/ARCH/NAME``."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from plasm.errors import printable
from plasm_trust import layout, manifest
from plasm_trust.settings import MAX_CHANNELS

MAX_ARTIFACTS: Final = manifest.MAX_ARTIFACTS
"""Of one channel and architecture."""
MAX_ENTRIES: Final = 4096
"""Of one folder, whatever they are."""


class Scan:
    """The folder `folder`, looked through once. Raises :exc:`OSError` where it cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.found: dict[str, Path] = {}
        """The files that can be signed, by target path."""
        self.refused: dict[str, str] = {}
        """By path below the folder: why something in it cannot. Hidden files and manifests are passed over."""
        self._folder = folder
        os.scandir(folder).close()
        for channel in self._folders(folder, layout.channel_name, MAX_CHANNELS):
            for arch in self._folders(channel, layout.arch_name, len(layout.ARCHES) + 1):
                self._take_files(channel.name, arch)

    def _take_files(self, channel: str, folder: Path) -> None:
        for file in self._entries(folder, layout.artifact_name, MAX_ARTIFACTS):
            target = f"{channel}/{layout.arch_name(folder.name)}/{file.name}"
            if not stat.S_ISREG(file.lstat().st_mode):
                self._refuse(file, "is a symbolic link" if file.is_symlink() else "is not a regular file")
            elif target in self.found:
                self._refuse(file, f"is the same artifact as {self._name(self.found[target])}")
            else:
                self.found[target] = file

    def _folders(self, parent: Path, check: Callable[[str], str], most: int) -> Iterator[Path]:
        for path in self._entries(parent, check, most):
            if stat.S_ISDIR(path.lstat().st_mode):
                yield path
            else:
                self._refuse(path, "is a symbolic link" if path.is_symlink() else "is not a folder")

    def _entries(self, parent: Path, check: Callable[[str], str], most: int) -> Iterator[Path]:
        """What is in `parent` under names that `check` knows, at most `most`, in order."""
        try:
            paths = sorted(islice(parent.iterdir(), MAX_ENTRIES + 1))
        except OSError as error:
            self._refuse(parent, f"cannot be read: {error.strerror or error}")
            return
        if len(paths) > MAX_ENTRIES:
            self._refuse(parent, f"holds more than {MAX_ENTRIES} entries")
            return
        good = 0
        for path in paths:
            if path.name.startswith(".") or path.name == layout.MANIFEST:
                continue
            try:
                check(path.name)
            except layout.BadName as error:
                self._refuse(path, str(error))
                continue
            good += 1
            if good > most:
                self._refuse(parent, f"holds more than {most}")
                return
            yield path

    def _refuse(self, path: Path, why: str) -> None:
        if len(self.refused) < MAX_ARTIFACTS:
            self.refused[self._name(path)] = why

    def _name(self, path: Path) -> str:
        return printable(path.relative_to(self._folder).as_posix())
