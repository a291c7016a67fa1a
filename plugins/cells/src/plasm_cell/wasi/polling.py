"""``poll_oneoff``: everything is ready at once, and time goes on only where nothing is."""

from __future__ import annotations

import struct
from typing import Final

from . import rights
from .clocks import CLOCKS
from .descriptors import OpenDevice, OpenFile, Stream
from .errors import BADF, INVAL, NOTCAPABLE, SUCCESS
from .guest import Guest
from .inodes import DeviceKind

MOST_SUBSCRIPTIONS: Final = 1024

_EVENT_CLOCK, _EVENT_READ, _EVENT_WRITE = range(3)
_SUBSCRIPTION: Final = struct.Struct("<QB7xI4xQ8xH6x")
_EVENT: Final = struct.Struct("<QHB5xQH6x")
_ABSOLUTE: Final = 1
_ROOM: Final = 65536
"""Bytes that an output is said to take, and a device to give."""


class Polling(Guest):
    def poll_oneoff(self, subscriptions: int, events: int, count: int, out: int) -> int:
        """Ready descriptors and due clocks; where there are none, time goes on to the first clock that is due."""
        if not 0 < count <= MOST_SUBSCRIPTIONS:
            return INVAL
        wanted = list(_SUBSCRIPTION.iter_unpack(self._piece(subscriptions, _SUBSCRIPTION.size * count)))
        self._check(events, _EVENT.size * count)
        self._check(out, 4)
        for _, kind, _, _, flags in wanted:
            if kind > _EVENT_WRITE or (kind == _EVENT_CLOCK and flags > _ABSOLUTE):
                return INVAL
        waits: list[tuple[int, int]] = []
        ready: list[tuple[int, int, int, int]] = []
        for userdata, kind, which, timeout, flags in wanted:
            if kind != _EVENT_CLOCK:
                error, nbytes = self._readiness(which, kind)
                ready.append((userdata, error, kind, nbytes))
            elif which not in CLOCKS:
                ready.append((userdata, INVAL, kind, 0))
            else:
                if flags & _ABSOLUTE:
                    timeout = max(0, timeout - self._clock.time(which))
                waits.append((timeout, userdata))
        patience = 0 if ready else min(wait for wait, _ in waits)
        self._clock.sleep(patience)
        ready += [(userdata, SUCCESS, _EVENT_CLOCK, 0) for wait, userdata in waits if wait <= patience]
        for index, (userdata, error, kind, nbytes) in enumerate(ready):
            _EVENT.pack_into(self.memory, events + _EVENT.size * index, userdata, error, kind, nbytes, 0)
        self._put(out, "<I", len(ready))
        return SUCCESS

    def _readiness(self, fd: int, kind: int) -> tuple[int, int]:
        """An error number, and how many bytes can be read or written."""
        descriptor = self._descriptors.get(fd)
        if descriptor is None:
            return BADF, 0
        needed = rights.POLL_FD_READWRITE | (rights.FD_READ if kind == _EVENT_READ else rights.FD_WRITE)
        if descriptor.base & needed != needed:
            return NOTCAPABLE, 0
        if kind == _EVENT_WRITE:
            return SUCCESS, _ROOM
        if isinstance(descriptor, OpenFile):
            return SUCCESS, max(0, descriptor.inode.size - descriptor.offset)
        if isinstance(descriptor, OpenDevice):
            return SUCCESS, 0 if descriptor.inode.kind is DeviceKind.NULL else _ROOM
        return SUCCESS, len(descriptor.left) if isinstance(descriptor, Stream) else 0
