"""From the thread of `zeroconf` to the event loop of the node, on either back end."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress

import anyio

from plasm.ports import Found

_CHANCE = random.SystemRandom()


class Mailbox:
    """The newest :class:`Found` of each instance name, of at most `size` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._waiting: dict[str, Found] = {}
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)

    def put(self, name: str, found: Found) -> None:
        """Called from any thread; never blocks."""
        with self._lock:
            self._waiting.pop(name, None)
            if len(self._waiting) >= self._size:
                # At random: who floods a link must not know whose place that costs.
                del self._waiting[_CHANCE.choice(list(self._waiting))]
            self._waiting[name] = found
            # It fails where the bell rings already, or nobody will answer it any more.
            with suppress(OSError):
                self._button.send(b"\0")

    async def receive(self) -> list[Found]:
        """What was put since the last time, once there is something; called from the event loop."""
        await anyio.wait_readable(self._bell)
        with suppress(BlockingIOError):
            self._bell.recv(4096)
        with self._lock:
            arrived, self._waiting = self._waiting, {}
        return list(arrived.values())

    def close(self) -> None:
        """Called from the event loop; idempotent."""
        with self._lock:
            self._bell.close()
            self._button.close()
