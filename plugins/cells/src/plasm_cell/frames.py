"""The frames between the node and a cell: two lengths, a JSON header, a body of raw bytes, perhaps descriptors.

A frame is a 4-byte header length and an 8-byte body length (both big-endian), the header (one JSON object in UTF-8)
and the body. Descriptors (``SCM_RIGHTS``) ride on a frame's first byte, from the node to the cell only.

With a warm parent the node exchanges messages of one JSON object over ``SOCK_SEQPACKET``, see :mod:`.warm`.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

PREFIX = struct.Struct("!IQ")
MAX_HEADER = 1 << 20
"""Bytes. Arguments and environment of a job travel in the header."""
MAX_REPLY_HEADER = 1 << 19
"""What a cell says needs far less, but for a table of 256 paths of 200 bytes that JSON has to escape."""
MAX_DESCRIPTORS = 2
MAX_MESSAGE = 1 << 16
"""Of the messages between the node and a warm parent."""


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
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> tuple[dict[str, Any], bytes, list[int]]:
        """The next frame: header, body, descriptors (which the caller closes). Raises :exc:`Closed`."""
        first, descriptors, _, _ = socket.recv_fds(self._socket, PREFIX.size, MAX_DESCRIPTORS)
        if not first:
            raise Closed
        header_length, body_length = PREFIX.unpack(first + self._exactly(PREFIX.size - len(first)))
        header = json.loads(self._exactly(header_length))
        return header, bytes(self._exactly(body_length)), descriptors

    def send(self, header: dict[str, Any], *body: bytes | bytearray | memoryview) -> None:
        """Send one frame. Raises :exc:`OSError` where the node is gone."""
        encoded = json.dumps(header, separators=(",", ":")).encode()
        pieces = [encode(encoded, sum(map(len, body))), *body]
        if sum(map(len, pieces)) <= 65536:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self._socket.sendall(piece)

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        rest = memoryview(data)
        while rest:
            got = self._socket.recv_into(rest)
            if not got:
                raise Closed
            rest = rest[got:]
        return data


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
