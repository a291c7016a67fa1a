"""A disk that is full, told from other faults: what mends it is room, and never anything that costs what is there."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

MEND: Final = "make room on it, and try again"
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_AMBIGUOUS = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
_NEXT_TO_NOTHING = 128 * 1024
"""Where less is free sqlite cannot make the files beside its database, and says no more than that it cannot."""


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether `error` came because there is no room on the disk of `folder`, or in its owner's quota."""
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_FULL or (code in _AMBIGUOUS and _free_bytes(folder) < _NEXT_TO_NOTHING)


def full(folder: Path) -> str:
    """What to say then; :data:`MEND` says what mends it."""
    return f"the disk of {folder} is full"


def _free_bytes(folder: Path) -> int:
    try:
        status = os.statvfs(folder)
    except OSError:
        return _NEXT_TO_NOTHING
    return status.f_bavail * status.f_frsize
