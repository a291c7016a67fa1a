"""One direction of a stream in memory."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from plasm.ports import StreamBroken


class Pipe:
    """Bytes from one task to another, at most `capacity` of them on the way."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held = bytearray()
        self._ended = False
        self._broken = ""
        self._turn = anyio.Lock()
        self._changed = anyio.Event()

    async def send(self, data: bytes) -> None:
        """Put all of `data` in, as room is made."""
        view = memoryview(data)
        async with self._turn:
            await anyio.lowlevel.checkpoint()
            while True:
                if self._broken:
                    raise StreamBroken(self._broken)
                if self._ended:
                    raise StreamBroken("the stream is closed for sending")
                room = self._capacity - len(self._held)
                if room and view:
                    self._held += view[:room]
                    view = view[room:]
                    self._tell()
                if not view:
                    return
                await self._changed.wait()

    async def receive(self, max_bytes: int) -> bytes:
        """What is there, up to `max_bytes`, once something is."""
        await anyio.lowlevel.checkpoint()
        while True:
            if self._broken:
                raise StreamBroken(self._broken)
            if self._held:
                data = bytes(self._held[:max_bytes])
                del self._held[:max_bytes]
                self._tell()
                return data
            if self._ended:
                return b""
            await self._changed.wait()

    def end(self) -> None:
        """Let the reader have what is held, then the end."""
        self._ended = True
        self._tell()

    def break_off(self, reason: str) -> None:
        """Drop what is held and fail both sides from here on."""
        self._broken = self._broken or reason
        self._held.clear()
        self._tell()

    @property
    def broken(self) -> str:
        return self._broken

    @property
    def drained(self) -> bool:
        return self._ended and not self._held

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
