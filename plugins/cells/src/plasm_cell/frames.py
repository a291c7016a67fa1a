"""The frames between the node and a cell: two lengths, a JSON header, a body of raw bytes, perhaps descriptors.

A frame is a 4-byte header length and an 8-byte body length (both big-endian), the header (one JSON object in UTF-8)
and the body. Descriptors (``SCM_RIGHTS``) ride on a frame's first byte, from the node to the cell only.

With a warm parent the node exchanges messages of one JSON object over ``SOCK_SEQPACKET``, see :mod:`.warm`.

The sockets here are the standard library's without the layer in Python: what a warm parent has imported, and what a
cell touches of it, each cell pays for.
"""

from __future__ import annotations

import _socket
import json
import os
import struct
from collections.abc import Sequence
from typing import Any, Final

PREFIX = struct.Struct("!IQ")
MAX_HEADER = 4 << 20
"""Bytes. Arguments and environment of a job, and the names of its inputs, travel in the header."""
MAX_REPLY_HEADER = 1 << 19
"""What a cell says needs far less, but for a table of 256 paths of 200 bytes that JSON has to escape."""
MAX_DESCRIPTORS = 2
MAX_MESSAGE = 1 << 16
"""Of the messages between the node and a warm parent."""
_AT_ONCE: Final = 1 << 16
_DESCRIPTOR_BYTES: Final = 4
_ROOM: Final = _socket.CMSG_SPACE(MAX_DESCRIPTORS * _DESCRIPTOR_BYTES)

_encoder: Final = json.JSONEncoder(separators=(",", ":"))
_make_encoder: Final[Any] = getattr(json.encoder, "c_make_encoder", None)
_chunks: Final = _make_encoder and _make_encoder(
    None, _encoder.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True
)
_decode: Final = json.JSONDecoder().raw_decode


def encode_json(value: Any) -> str:
    """As :class:`json.JSONEncoder` does, which makes another encoder for each value."""
    return "".join(_chunks(value, 0)) if _chunks else _encoder.encode(value)


class Closed(Exception):
    """The other side is gone."""


def encode(header: bytes, body_length: int) -> bytes:
    """The prefix and header of a frame whose body follows separately."""
    return PREFIX.pack(len(header), body_length) + header


def one_line(text: str) -> str:
    """`text` without what JSON cannot carry, at most 400 characters; the node escapes the rest before it is shown."""
    return text[:400].encode("utf-8", "backslashreplace").decode()


class CellSocket:
    """The cell's blocking end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = _socket.socket(fileno=descriptor)
        self._socket.setblocking(True)
        self._buffer = bytearray(_AT_ONCE)

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> tuple[dict[str, Any], bytes, list[int]]:
        """The next frame: header, body, descriptors (which the caller closes). Raises :exc:`Closed`.

        The node sends no frame before the one before it was answered: what arrives at once belongs to one.
        """
        buffer = self._buffer
        got, ancillary, _, _ = self._socket.recvmsg_into((buffer,), _ROOM)
        if not got:
            raise Closed
        if got < PREFIX.size:
            self._fill(buffer, got, PREFIX.size)
            got = PREFIX.size
        header_length, body_length = PREFIX.unpack_from(buffer)
        begin = PREFIX.size + header_length
        end = begin + body_length
        if got < end:
            if len(buffer) < end:
                buffer = buffer[:got] + bytes(end - got)
            self._fill(buffer, got, end)
        header, _ = _decode(str(buffer[PREFIX.size : begin], "utf-8"))
        return header, bytes(buffer[begin:end]), descriptors_of(ancillary) if ancillary else []

    def send(self, header: dict[str, Any], *body: bytes | bytearray | memoryview) -> None:
        """Send one frame. Raises :exc:`OSError` where the node is gone."""
        encoded = encode_json(header).encode()
        pieces = [encode(encoded, sum(map(len, body))), *body]
        if sum(map(len, pieces)) <= _AT_ONCE:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self._socket.sendall(piece)

    def _fill(self, buffer: bytearray, start: int, end: int) -> None:
        rest = memoryview(buffer)[start:end]
        while rest:
            got = self._socket.recv_into(rest)
            if not got:
                raise Closed
            rest = rest[got:]


def descriptors_of(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """Those that came with a message."""
    found: list[int] = []
    for level, kind, content in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            found += memoryview(content)[: len(content) // _DESCRIPTOR_BYTES * _DESCRIPTOR_BYTES].cast("i")
    return found


def send_with_descriptors(connection: _socket.socket, data: bytes, *descriptors: int) -> None:
    """One message with its descriptors."""
    content = struct.pack(f"={len(descriptors)}i", *descriptors)
    connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, content)])


def read_all(descriptor: int) -> bytes:
    """The whole content of a file descriptor, from its beginning."""
    size = os.fstat(descriptor).st_size
    return read_exactly(descriptor, size)


def read_exactly(descriptor: int, size: int) -> bytes:
    """The first `size` bytes of a file descriptor. Raises :exc:`OSError` where it holds less."""
    data = bytearray(size)
    view, offset = memoryview(data), 0
    while offset < size:
        got = os.preadv(descriptor, [view[offset : offset + (1 << 30)]], offset)
        if not got:
            raise OSError("the file became shorter")
        offset += got
    return bytes(data)


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write `data` at the beginning of a file descriptor. Raises :exc:`OSError`, also beyond the file size limit."""
    view, offset = memoryview(data), 0
    while offset < len(data):
        offset += os.pwrite(descriptor, view[offset : offset + (1 << 30)], offset)
