"""System calls without a library in between."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Mapping
from typing import Any

Order = Mapping[str, Any]
"""What to attempt (``attempt``), where (``where``), the numbers of system calls (``calls``), and what to aim at."""


class Denied(Exception):
    """The name of the error number."""


class Kernel:
    """Calls by name; `numbers` are this machine's."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long

    def __call__(self, name: str, *arguments: Any) -> int:
        """Integers, bytes (their address) and ctypes' own objects. Raises :exc:`Denied`."""
        ctypes.set_errno(0)
        given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
        result: int = self._syscall(ctypes.c_long(self._numbers[name]), *given)
        if result == -1:
            raise Denied(errno.errorcode.get(ctypes.get_errno(), "?"))
        return result


Attempt = Callable[[Kernel, Order], Any]
"""Returns what it reached, or raises :exc:`Denied`."""
