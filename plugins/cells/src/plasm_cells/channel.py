"""The node's end of a cell's socket: frames with caps, since a cell that was taken over may send anything."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Sequence
from typing import Annotated

import anyio
import msgspec
from anyio import to_thread
from plasm_cell.frames import MAX_HEADER, MAX_REPLY_HEADER, PREFIX, encode
from plasm_cell.wasi.volume import MOST_OUT_FILES

from plasm.ports import Verdict


class CellGone(Exception):
    """The cell closed its end: its process ended, or is about to."""


class Garbage(Exception):
    """The cell sent something that no cell of ours sends."""


Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
"""No larger than a receipt may hold, whatever a cell says."""
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Ready(msgspec.Struct, tag_field="kind", tag="ready", forbid_unknown_fields=True):
    pass


class Begun(msgspec.Struct, tag_field="kind", tag="begun", forbid_unknown_fields=True):
    pass


class Compiled(msgspec.Struct, tag_field="kind", tag="compiled", forbid_unknown_fields=True):
    starts: bool


class Refused(msgspec.Struct, tag_field="kind", tag="refused", forbid_unknown_fields=True):
    detail: str


class Failed(msgspec.Struct, tag_field="kind", tag="failed", forbid_unknown_fields=True):
    detail: str


class GaveUp(msgspec.Struct, tag_field="kind", tag="gave_up", forbid_unknown_fields=True):
    detail: str


class Ended(msgspec.Struct, tag_field="kind", tag="outcome", forbid_unknown_fields=True, kw_only=True):
    verdict: Verdict
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    trap: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    detail: str = ""
    fuel: Count | None
    peak_memory_bytes: Count | None
    stdout_bytes: Count
    stderr_bytes: Count
    files: Annotated[list[tuple[str, Count]], msgspec.Meta(max_length=MOST_OUT_FILES)]
    cpu_seconds: Seconds
    wall_seconds: Seconds


_AHEAD = 4096
_IN_THE_LOOP = 256 << 10
"""Bytes of a body that are received by the event loop itself."""
Unsent = list[tuple[memoryview, Sequence[int]]]
"""Pieces of a frame, with the descriptors that go with them."""
Reply = Ready | Begun | Compiled | Refused | Failed | GaveUp | Ended
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = msgspec.json.Decoder(Reply).decode


def one_line(text: str) -> str:
    """`text` fit to be shown: printable ASCII, the rest escaped, at most 300 characters."""
    escaped = text[:300].encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= 300 else escaped[:299] + "…"


class Channel:
    """Frames over a non-blocking socket that this object owns."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._received = bytearray()

    def close(self) -> None:
        self._socket.close()

    @property
    def quiet(self) -> bool:
        """Whether nothing waits to be read, not even the end: so it is with a cell that waits for a job."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self._received
        except OSError:
            return False
        return False

    async def send(self, header: object, body: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send one frame; `descriptors` stay the caller's. Raises :exc:`CellGone`, :exc:`ValueError` (too large)."""
        if unsent := self.post(header, body, descriptors):
            await self.flush(unsent)

    def post(self, header: object, body: bytes = b"", descriptors: Sequence[int] = ()) -> Unsent:
        """As :meth:`send`, as far as it goes without waiting; what is left is for :meth:`flush`."""
        try:
            encoded = msgspec.json.encode(header)
        except UnicodeEncodeError:
            # It refuses the surrogates that stand for stray bytes of a command line.
            encoded = _encode(header).encode()
        if len(encoded) > MAX_HEADER:
            raise ValueError("the arguments, the environment and the names of inputs are too large")
        first = encode(encoded, len(body))
        pieces = [first + body] if len(body) <= 65536 else [first, body]
        return self._push([(memoryview(piece), () if number else descriptors) for number, piece in enumerate(pieces)])

    async def flush(self, unsent: Unsent) -> None:
        """Send what :meth:`post` left. Raises :exc:`CellGone`."""
        while unsent:
            await anyio.wait_writable(self._socket)
            unsent = self._push(unsent)

    def _push(self, unsent: Unsent) -> Unsent:
        while unsent:
            rest, descriptors = unsent[0]
            try:
                sent = socket.send_fds(self._socket, [rest], descriptors) if descriptors else self._socket.send(rest)
            except BlockingIOError:
                return unsent
            except OSError:
                raise CellGone from None
            # Descriptors ride on the first byte.
            unsent[:1] = [(rest[sent:], ())] if sent < len(rest) else []
        return unsent

    async def receive(self, most_body: int = 0) -> tuple[Reply, bytes]:
        """The next frame. Raises :exc:`CellGone`, or :exc:`Garbage` for what is too long or malformed.

        Where this is cancelled the channel is of no more use.
        """
        if not self._received:
            await anyio.wait_readable(self._socket)
        # The end of a short run comes with its beginning; what is large is not read ahead, since it would be copied.
        await self._fill(PREFIX.size, 0 if most_body else _AHEAD)
        header_length, body_length = PREFIX.unpack_from(self._received)
        if header_length > MAX_REPLY_HEADER or body_length > most_body:
            raise Garbage(f"a frame of {header_length} and {body_length} bytes")
        begin, large = PREFIX.size + header_length, body_length > _IN_THE_LOOP
        await self._fill(begin if large else begin + body_length)
        end = min(begin + body_length, len(self._received))
        try:
            reply = _decode(memoryview(self._received)[PREFIX.size : begin])
        except (msgspec.MsgspecError, RecursionError):
            raise Garbage("a malformed frame") from None
        body = bytes(memoryview(self._received)[begin:end])
        del self._received[:end]
        if len(body) < body_length:
            rest = await self._receive_apart(body_length - len(body))
            body = body + rest if body else rest
        return reply, body

    async def _fill(self, count: int, ahead: int = 0) -> None:
        while len(self._received) < count:
            try:
                data = self._socket.recv(max(count - len(self._received), ahead))
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            except OSError:
                raise CellGone from None
            if not data:
                raise CellGone
            self._received += data

    async def _receive_apart(self, count: int) -> bytes:
        """So many bytes, in a thread: the event loop would do little else while a job's output of megabytes comes."""
        try:
            apart = self._socket.dup()
            self._socket.setblocking(True)
            # A thread of its own: cells that send slowly keep those that others share from nobody.
            one = anyio.CapacityLimiter(1)
            data = await to_thread.run_sync(_receive_whole, apart, count, abandon_on_cancel=True, limiter=one)
            self._socket.setblocking(False)
        except OSError:
            raise CellGone from None
        except BaseException:
            with contextlib.suppress(OSError):
                # Which ends the thread.
                self._socket.shutdown(socket.SHUT_RDWR)
            raise
        if len(data) < count:
            raise CellGone
        return data


def _receive_whole(connection: socket.socket, count: int) -> bytes:
    """Less where the other side has closed."""
    with connection:
        data = connection.recv(count, socket.MSG_WAITALL)
        while 0 < len(data) < count and (more := connection.recv(count - len(data), socket.MSG_WAITALL)):
            data += more
        return data
