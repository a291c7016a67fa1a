"""What a provider says of itself over ``/phase/boot/1`` (``specs/boot-discovery.md``, section 4).

One frame: an unsigned varint length in its shortest form (multiformats' unsigned-varint) and as many bytes of JSON.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec

PROTOCOL: Final = "/phase/boot/1"
VERSION: Final = 1
MAX_BYTES: Final = 4096
"""Of the JSON document."""
MOST_CHANNELS: Final = 48
"""As many pairs of names of any length fit into :data:`MAX_BYTES`."""

_LONGEST_PREFIX: Final = 2
"""Bytes of a length up to :data:`MAX_BYTES`."""

Channel = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,62}\Z")]
Arch = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9_]{0,15}\Z")]


class InvalidBootInfo(ValueError):
    """The bytes are not what a provider may say."""


class BootInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider's HTTP server listens, and for what."""

    http_port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    channels: Annotated[tuple[tuple[Channel, Arch], ...], msgspec.Meta(max_length=MOST_CHANNELS)]
    """Each channel with an architecture that it is served for."""
    version: int = VERSION


def encode(info: BootInfo) -> bytes:
    """`info` as a frame. Raises :exc:`InvalidBootInfo` where no client would take it."""
    body = msgspec.json.encode({"version": info.version, "http_port": info.http_port, "channels": info.channels})
    decode(body)
    return bytes((len(body) & 0x7F | 0x80, len(body) >> 7) if len(body) > 0x7F else (len(body),)) + body


def decode(body: bytes) -> BootInfo:
    """The reverse, without the length; unknown members are ignored. Raises :exc:`InvalidBootInfo`."""
    if len(body) > MAX_BYTES:
        raise InvalidBootInfo(f"{len(body)} bytes are more than {MAX_BYTES}")
    try:
        info = msgspec.json.decode(body, type=BootInfo)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBootInfo(f"not a document of {PROTOCOL}: {error}") from None
    if info.version != VERSION:
        raise InvalidBootInfo(f"version {info.version} is not spoken here")
    return info


async def read(receive: Callable[[int], Awaitable[bytes]]) -> BootInfo:
    """The document in the frame that ``receive(max_bytes)`` gives piece by piece; what follows it stays unread.

    The deadline is the caller's. Raises :exc:`InvalidBootInfo`.
    """
    length = shift = 0
    for _ in range(_LONGEST_PREFIX):
        byte = (await _exactly(receive, 1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise InvalidBootInfo(f"a length of more than {_LONGEST_PREFIX} bytes")
    if shift > 7 and byte == 0:
        raise InvalidBootInfo("a length that is not in its shortest form")
    if length > MAX_BYTES:
        raise InvalidBootInfo(f"{length} bytes are more than {MAX_BYTES}")
    return decode(await _exactly(receive, length))


async def _exactly(receive: Callable[[int], Awaitable[bytes]], count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await receive(count - len(data))
        if not piece:
            raise InvalidBootInfo("the stream ended too early")
        data += piece
    return data
