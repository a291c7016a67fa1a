"""The store ``fs``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.to_thread

from plasm.drivers import DriverUnavailable, Scope
from plasm.ports import Digest, Entry, Store, StoreError, StoreWriter
from plasm_fs.budget import Budget
from plasm_fs.folder import Folder
from plasm_fs.hooks import FsOptions
from plasm_fs.incoming import Arrival

T = TypeVar("T")

_THREADS = 4
"""Enough to keep a disk busy, few enough to leave threads to others."""


class DiskStore:
    """Verified content in a folder; the disk is touched in worker threads only."""

    writable = True

    def __init__(self, folder: Folder, limiter: anyio.CapacityLimiter) -> None:
        self._folder = folder
        self._limiter = limiter
        self._closed = False

    def close(self) -> None:
        """Let go of the folder; whoever comes later gets a :exc:`StoreError`, not a descriptor that is another's."""
        self._closed = True
        self._folder.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StoreError("the store is closed")
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    async def has(self, digest: Digest) -> bool:
        return await self._in_thread(lambda: self._folder.has(digest))

    async def get(self, digest: Digest, max_bytes: int) -> bytes:
        return await self._in_thread(lambda: self._folder.read(digest, max_bytes))

    @asynccontextmanager
    async def create(self, digest: Digest, size: int) -> AsyncIterator[StoreWriter]:
        arrival = await self._in_thread(lambda: self._folder.begin(digest, size))
        try:
            yield _DiskWriter(self, arrival)
            await self._in_thread(lambda: self._folder.publish(arrival))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._in_thread(lambda: self._folder.discard(arrival))
            raise

    async def append(self, arrival: Arrival, piece: bytes) -> None:
        """For a writer. Raises :exc:`TooLarge` or :exc:`StoreError`."""
        await self._in_thread(lambda: self._folder.append(arrival, piece))

    async def delete(self, digest: Digest) -> None:
        await self._in_thread(lambda: self._folder.delete(digest))

    async def entries(self) -> AsyncIterator[Entry]:
        for entry in await self._in_thread(self._folder.entries):
            yield entry


class _DiskWriter:
    def __init__(self, store: DiskStore, arrival: Arrival) -> None:
        self._store = store
        self._arrival = arrival

    async def write(self, piece: bytes) -> None:
        await self._store.append(self._arrival, piece)


@asynccontextmanager
async def disk_store(scope: Scope, options: FsOptions) -> AsyncIterator[Store]:
    """The store in the scope's home. Raises :exc:`DriverUnavailable` without a home, or :exc:`StoreError`."""
    home = scope.home
    if home is None:
        raise DriverUnavailable("the store fs needs a home, and nothing may be written here", "--plugins memory")
    budget = Budget(options.max_bytes, options.max_item_bytes, options.max_items)
    limiter = anyio.CapacityLimiter(_THREADS)
    folder = await anyio.to_thread.run_sync(Folder, home, budget, limiter=limiter)
    store = DiskStore(folder, limiter)
    try:
        yield store
    finally:
        store.close()


_: type[Store] = DiskStore
