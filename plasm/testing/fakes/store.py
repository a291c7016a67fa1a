"""A store in a dictionary."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio.lowlevel

from plasm.drivers import Driver, Options, Scope
from plasm.ports import Corrupt, Digest, Entry, NotStored, Store, StoreError, StoreWriter, TooLarge


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _well_formed(digest: str) -> bool:
    kind, _, value = digest.partition(":")
    return kind == "sha256" and len(value) == 64 and set(value) <= set("0123456789abcdef")


class _Writer:
    def __init__(self, size: int) -> None:
        self._left = size
        self.content = bytearray()

    async def write(self, piece: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        if len(piece) > self._left:
            raise TooLarge(f"{len(piece) - self._left} bytes more than was said")
        self._left -= len(piece)
        self.content += piece


class DictStore:
    """Holds up to `max_bytes` altogether, in memory. `contents` may be damaged on purpose."""

    def __init__(self, *, max_bytes: int = 64 * 2**20) -> None:
        self.contents: dict[Digest, bytes] = {}
        self._used: dict[Digest, float] = {}
        self._max_bytes = max_bytes

    @property
    def writable(self) -> bool:
        return True

    async def has(self, digest: Digest) -> bool:
        await anyio.lowlevel.checkpoint()
        return digest in self.contents

    async def get(self, digest: Digest, max_bytes: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        content = self.contents.get(digest)
        if content is None:
            raise NotStored(f"nothing here goes by {digest[:80]!r}")
        if len(content) > max_bytes:
            raise TooLarge(f"{len(content)} bytes, where {max_bytes} are allowed")
        if _digest(content) != digest:
            raise Corrupt(f"what is held as {digest} has another digest")
        self._used[digest] = time.time()
        return content

    @asynccontextmanager
    async def create(self, digest: Digest, size: int) -> AsyncIterator[StoreWriter]:
        if not _well_formed(digest):
            raise StoreError(f"{digest[:80]!r} is not a digest")
        if size < 0:
            raise StoreError("a size cannot be negative")
        if size + sum(map(len, self.contents.values())) > self._max_bytes and digest not in self.contents:
            raise TooLarge(f"{size} bytes, more than the store takes")
        writer = _Writer(size)
        yield writer
        content = bytes(writer.content)
        if len(content) != size or _digest(content) != digest:
            raise Corrupt(f"what was written does not have the digest {digest}")
        self.contents[digest] = content
        self._used[digest] = time.time()

    async def delete(self, digest: Digest) -> None:
        await anyio.lowlevel.checkpoint()
        self.contents.pop(digest, None)
        self._used.pop(digest, None)

    async def entries(self) -> AsyncIterator[Entry]:
        for digest, content in list(self.contents.items()):
            await anyio.lowlevel.checkpoint()
            yield Entry(digest, len(content), self._used.get(digest, 0.0))


def dict_driver(store: DictStore | None = None, *, name: str = "dict") -> Driver[Store]:
    """A driver that opens `store`, so that a test can look into it, or a new one each time."""

    @asynccontextmanager
    async def open_dict(scope: Scope, options: Options) -> AsyncIterator[DictStore]:
        yield store if store is not None else DictStore()

    return Driver(name=name, open=open_dict, summary="a store in a dictionary")


if TYPE_CHECKING:
    _: type[Store] = DictStore
