"""multistream-select, both sides.

Source: https://github.com/multiformats/multistream-select. The side that asks sends header and protocol together: the
answer to the first decides nothing, and waiting for it would cost a second round trip for every stream. The side that
answers takes a few proposals and no more: py-libp2p's takes any number of them until its time is up, so that a stranger
keeps the event loop busy with a few bytes each.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from plasm.ports import DialFailed
from plasm_libp2p.muxed_stream import YamuxStream

if TYPE_CHECKING:
    from plasm_libp2p.yamux import YamuxConnection

HEADER = "/multistream/1.0.0"
LONGEST = 1024
"""Bytes of one message; a protocol name that is longer is refused here and by others."""


MOST_PROPOSALS = 16
"""Protocols that a peer may propose on one stream; others ask for one or two, and for each version that they know."""
NOT_AVAILABLE = "na"


class NotSpoken(Exception):
    """The other side does not speak the protocol, or not multistream-select."""


def _delimited(text: str) -> bytes:
    raw = text.encode() + b"\n"
    if len(raw) > LONGEST:
        raise NotSpoken("the name of the protocol is too long")
    size = len(raw)
    return (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + raw


async def _some(stream: YamuxStream, most: int) -> bytes:
    # What is there is taken without a checkpoint: of those a stream would need four else.
    return stream.receive_nowait(most) or await stream.receive(most)


async def _read(stream: YamuxStream) -> bytes:
    size = shift = 0
    while True:
        byte = await _some(stream, 1)
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
        piece = await _some(stream, size - len(message))
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


async def open_negotiated(connection: YamuxConnection, protocol: str) -> YamuxStream:
    """A new stream of `protocol`. Raises :exc:`DialFailed` where that is not spoken, or what the stream raises."""
    stream = await connection.open_stream()
    try:
        await select(stream, protocol)
    except NotSpoken as error:
        stream.abandon()
        raise DialFailed(f"{connection.session.peer} does not speak {protocol}: {error}") from None
    except BaseException:
        stream.abandon()
        raise
    return stream


async def answer(stream: YamuxStream, spoken: Container[str]) -> str:
    """The protocol that the peer asks for, one of `spoken`. Raises :exc:`NotSpoken`, or what the stream raises."""
    if await _read(stream) != HEADER.encode() + b"\n":
        raise NotSpoken("not multistream-select")
    head = _delimited(HEADER)
    if not stream.unread:
        # Some wait for it before they propose; who does not gets it together with the answer.
        await stream.send(head)
        head = b""
    for _ in range(MOST_PROPOSALS):
        # Bytes that are no UTF-8 name no protocol.
        proposed = (await _read(stream)).decode(errors="replace").removesuffix("\n")
        if proposed in spoken:
            await stream.send(head + _delimited(proposed))
            return proposed
        await stream.send(head + _delimited(NOT_AVAILABLE))
        head = b""
    raise NotSpoken("too many proposals")
