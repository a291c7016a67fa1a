"""Arguments, environment, clocks, random bytes, and the end of the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .clocks import CLOCKS
from .errors import INVAL, NOSYS, SUCCESS, Failure
from .guest import Guest
from .stops import Exit

_PIECE: Final = 65536
_MOST_SIGNAL: Final = 30
"""``sys``, the last of the witx ``signal``."""


class Process(Guest):
    _args: Sequence[bytes]
    _env: Sequence[bytes]

    def _list(self, items: Sequence[bytes], pointers: int, buffer: int) -> int:
        self._check(pointers, 4 * len(items))
        for index, item in enumerate(items):
            self._piece(buffer, len(item) + 1)[:] = item + b"\0"
            self._put(pointers + 4 * index, "<I", buffer)
            buffer += len(item) + 1
        return SUCCESS

    def _list_sizes(self, items: Sequence[bytes], count: int, size: int) -> int:
        self._check(size, 4)
        self._put(count, "<I", len(items))
        self._put(size, "<I", sum(len(item) + 1 for item in items))
        return SUCCESS

    def args_get(self, pointers: int, buffer: int) -> int:
        return self._list(self._args, pointers, buffer)

    def args_sizes_get(self, count: int, size: int) -> int:
        return self._list_sizes(self._args, count, size)

    def environ_get(self, pointers: int, buffer: int) -> int:
        return self._list(self._env, pointers, buffer)

    def environ_sizes_get(self, count: int, size: int) -> int:
        return self._list_sizes(self._env, count, size)

    def clock_res_get(self, clock: int, out: int) -> int:
        if clock not in CLOCKS:
            return INVAL
        self._put(out, "<Q", self._clock.resolution(clock))
        return SUCCESS

    def clock_time_get(self, clock: int, _precision: int, out: int) -> int:
        if clock not in CLOCKS:
            return INVAL
        self._check(out, 8)
        self._put(out, "<Q", self._clock.time(clock))
        return SUCCESS

    def random_get(self, pointer: int, length: int) -> int:
        target = self._piece(pointer, length)
        for offset in range(0, length, _PIECE):
            part = target[offset : offset + _PIECE]
            part[:] = self._random.take(len(part))
        return SUCCESS

    def sched_yield(self) -> int:
        return SUCCESS

    def proc_exit(self, code: int) -> int:
        raise Exit(code & 0xFF)

    def proc_raise(self, signal: int) -> int:
        raise Failure(INVAL if signal > _MOST_SIGNAL else NOSYS)
