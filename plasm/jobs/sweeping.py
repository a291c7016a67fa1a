"""Sweeping the stores: the modules used longest ago go, and none that a job here still needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import anyio

from plasm.ports import Digest, Store


class ModuleSweeper:
    """Holds what the writable stores keep below a bound."""

    def __init__(self, stores: Sequence[Store], max_bytes: int, needed: Callable[[], Collection[str]]) -> None:
        self._stores = stores
        self._max_bytes = max_bytes
        self._needed = needed
        self._going: Digest | None = None
        self._one_at_a_time = anyio.Lock()

    async def sweep(self) -> None:
        """Delete above the bound. Raises :exc:`~plasm.ports.StoreError`."""
        for store in self._stores:
            if store.writable:
                await self._sweep_store(store)

    async def settled(self, module: Digest) -> None:
        """Wait while the module is being deleted: asked before that has ended, its store may still say it is there."""
        if self._going == module:
            async with self._one_at_a_time:
                pass

    async def _sweep_store(self, store: Store) -> None:
        entries = [entry async for entry in store.entries()]
        total = sum(entry.size for entry in entries)
        for entry in sorted(entries, key=lambda entry: entry.used):
            if total <= self._max_bytes:
                return
            async with self._one_at_a_time:
                # Asked anew for each: while an earlier one was deleted a job may have been accepted.
                if entry.digest in self._needed():
                    continue
                self._going = entry.digest
                try:
                    await store.delete(entry.digest)
                finally:
                    self._going = None
            total -= entry.size
