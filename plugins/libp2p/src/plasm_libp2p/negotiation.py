"""multistream-select, the side that asks.

Source: https://github.com/multiformats/multistream-select. Header and protocol go out together: the answer to the first
decides nothing, and waiting for it would cost a second round trip for every stream.
"""

from __future__ import annotations

from plasm_libp2p.muxed_stream import YamuxStream

HEADER = "/multistream/1.0.0"
LONGEST = 1024
"""Bytes of one message; a protocol name that is longer is refused here and by others."""


class NotSpoken(Exception):
    """The other side does not speak the protocol, or not multistream-select."""


def _delimited(text: str) -> bytes:
    raw = text.encode() + b"\n"
    if len(raw) > LONGEST:
        raise NotSpoken("the name of the protocol is too long")
    size = len(raw)
    return (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + raw


async def _read(stream: YamuxStream) -> bytes:
    size = shift = 0
    while True:
        byte = await stream.receive(1)
        if not byte or shift > 7:
            raise NotSpoken("the stream ended or made no sense")
        size |= (byte[0] & 127) << shift
        if byte[0] < 128:
            break
        shift += 7
    if not 0 < size <= LONGEST:
        raise NotSpoken("a message is too long")
    message = b""
    while len(message) < size:
        piece = await stream.receive(size - len(message))
        if not piece:
            raise NotSpoken("the stream ended")
        message += piece
    return message


async def select(stream: YamuxStream, protocol: str) -> None:
    """Agree on `protocol`. Raises :exc:`NotSpoken`, or what the stream raises."""
    await stream.send(_delimited(HEADER) + _delimited(protocol))
    for expected in (HEADER, protocol):
        if await _read(stream) != expected.encode() + b"\n":
            raise NotSpoken(f"{protocol} is not spoken")
