"""Which files have been hashed, remembered between runs."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec
from plasm_trust.hashing import FileIdentity
from plasm_trust.whole_files import read_capped, write_whole

_FORMAT: Final = 1
_MAX_BYTES: Final = 16 * 2**20
_RACY_NS: Final = 2 * 10**9
"""Some file systems tell times in units of two seconds."""


class _Kept(msgspec.Struct, frozen=True):
    format: int
    hashes: tuple[tuple[FileIdentity, str], ...]


class KnownHashes:
    """The SHA-256 of files by their identity; in the file at `path`, or in memory alone where that is ``None``."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._hashes: dict[FileIdentity, str] = {}
        self._written = b""
        if path is not None:
            self._hashes.update(_read(path))

    def get(self, identity: FileIdentity) -> str | None:
        """The SHA-256 (hexadecimal) of the file that has this identity; ``None`` where it has not been hashed."""
        return self._hashes.get(identity)

    def put(self, identity: FileIdentity, sha256: str) -> None:
        """A file of this identity was hashed."""
        self._hashes[identity] = sha256

    def keep(self, used: Collection[FileIdentity]) -> None:
        """Forget all but those in `used`, and write them down. Raises :exc:`OSError`."""
        self._hashes = {identity: self._hashes[identity] for identity in used if identity in self._hashes}
        if self._path is None:
            return
        settled = time.time_ns() - _RACY_NS
        kept = tuple(item for item in self._hashes.items() if max(item[0].mtime_ns, item[0].ctime_ns) < settled)
        data = msgspec.json.encode(_Kept(_FORMAT, kept))
        if data != self._written:
            write_whole(self._path, data, 0o600)
            self._written = data


def _read(path: Path) -> dict[FileIdentity, str]:
    try:
        kept = msgspec.json.decode(read_capped(path, _MAX_BYTES), type=_Kept)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        # What is remembered saves time and nothing else.
        return {}
    return dict(kept.hashes) if kept.format == _FORMAT else {}
