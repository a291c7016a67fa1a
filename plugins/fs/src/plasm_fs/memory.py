"""The store ``memory``."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from plasm.ports import Corrupt, Digest, Entry, NotStored, Store, StoreError, StoreWriter, TooLarge
from plasm_fs.budget import Budget, hexadecimal
from plasm_fs.hooks import MemoryOptions


class MemoryStore:
    """Verified bytes in this process, bounded; what was used longest ago goes first."""

    writable = True

    def __init__(self, max_bytes: int, max_items: int) -> None:
        self._budget = Budget(max_bytes, max_bytes, max_items)
        self._content: dict[Digest, bytes] = {}

    async def has(self, digest: Digest) -> bool:
        hexadecimal(digest)
        return digest in self._content

    async def get(self, digest: Digest, max_bytes: int) -> bytes:
        hexadecimal(digest)
        content = self._content.get(digest)
        if content is None:
            raise NotStored(f"{digest} is not in memory")
        if len(content) > max_bytes:
            raise TooLarge(f"{digest} has {len(content)} bytes and {max_bytes} are allowed")
        self._budget.touch(digest, time.time())
        return content

    @asynccontextmanager
    async def create(self, digest: Digest, size: int) -> AsyncIterator[StoreWriter]:
        hexadecimal(digest)
        self._budget.check_size(size)
        writer = _MemoryWriter(self, size)
        try:
            yield writer
            content = writer.content(digest)
        except BaseException:
            self._budget.give_back(writer.written)
            raise
        finally:
            writer.closed = True
        self._content[digest] = content
        self._forget(self._budget.keep(digest, len(content), time.time()))

    async def delete(self, digest: Digest) -> None:
        hexadecimal(digest)
        self._budget.drop(digest)
        self._content.pop(digest, None)

    async def entries(self) -> AsyncIterator[Entry]:
        for entry in self._budget.entries():
            yield entry

    def make_room(self, size: int) -> None:
        """Raises :exc:`StoreError` where there is none to be had."""
        self._forget(self._budget.make_room(size))

    def _forget(self, victims: list[Digest]) -> None:
        for victim in victims:
            del self._content[victim]


class _MemoryWriter:
    def __init__(self, store: MemoryStore, size: int) -> None:
        self._store = store
        self._size = size
        self._hash = hashlib.sha256()
        self._buffer = io.BytesIO()
        self.written = 0
        self.closed = False

    async def write(self, piece: bytes) -> None:
        if self.closed:
            raise StoreError("this piece of content is not being written any more")
        if self.written + len(piece) > self._size:
            raise TooLarge(f"more than the {self._size} bytes that were announced")
        self._store.make_room(len(piece))
        self.written += len(piece)
        self._hash.update(piece)
        self._buffer.write(piece)

    def content(self, digest: Digest) -> bytes:
        if self.written != self._size or self._hash.hexdigest() != hexadecimal(digest):
            raise Corrupt(f"what was written is not {digest} with {self._size} bytes")
        return self._buffer.getvalue()


@asynccontextmanager
async def memory_store(options: MemoryOptions) -> AsyncIterator[Store]:
    """An empty store that is gone when the block is left."""
    yield MemoryStore(options.max_bytes, options.max_items)


_: type[Store] = MemoryStore
