"""Landlock by raw system calls: every path right that the kernel knows is denied, and TCP, abstract sockets, signals.

Source: landlock(7), ``include/uapi/linux/landlock.h``. The system calls have the same numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

_CREATE_RULESET = 444
_RESTRICT_SELF = 446
_ABI_VERSION = 1
_PATH_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""ABI → how many rights of paths it knows; later ones are found by asking."""
_TCP = 0b11
_SCOPES = 0b11


class Landlock(NamedTuple):
    """What the kernel can deny. `abi` is 0 where there is no landlock; the others are bit masks."""

    abi: int
    paths: int = 0
    tcp: int = 0
    scoped: int = 0


NO_LANDLOCK = Landlock(0)


_LIBC = ctypes.CDLL(None, use_errno=True)
_create_ruleset = ctypes.CFUNCTYPE(
    ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, use_errno=True
)(("syscall", _LIBC))
_restrict_self = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_uint, use_errno=True)(
    ("syscall", _LIBC)
)


def _create(landlock: Landlock) -> int:
    """A ruleset without a rule; negative where the kernel does not know it."""
    sizes = 1 if landlock.abi < 4 else 2 if landlock.abi < 6 else 3
    content = struct.pack(f"={sizes}Q", *(landlock.paths, landlock.tcp, landlock.scoped)[:sizes])
    return int(_create_ruleset(_CREATE_RULESET, content, len(content), 0))


def probe() -> Landlock:
    """What this kernel has; changes nothing."""
    abi = int(_create_ruleset(_CREATE_RULESET, None, 0, _ABI_VERSION))
    if abi < 1:
        return NO_LANDLOCK
    rights = _PATH_RIGHTS[min(abi, max(_PATH_RIGHTS))]
    found = Landlock(abi, (1 << rights) - 1, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    while abi > max(_PATH_RIGHTS) and rights < 64:
        rights += 1
        wider = Landlock(abi, (1 << rights) - 1, found.tcp, found.scoped)
        descriptor = _create(wider)
        if descriptor < 0:
            break
        os.close(descriptor)
        found = wider
    return found


def ruleset(landlock: Landlock) -> int:
    """A descriptor for :func:`restrict`. Raises :exc:`OSError`."""
    descriptor = _create(landlock)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset failed")
    return descriptor


def restrict(descriptor: int) -> None:
    """Deny it all to this process and its children, for good. Needs ``no_new_privs``. Raises :exc:`OSError`.

    Each time it is a domain of its own, also by the same ruleset.
    """
    if _restrict_self(_RESTRICT_SELF, descriptor, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self failed")
