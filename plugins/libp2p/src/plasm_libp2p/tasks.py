"""The tasks of py-libp2p's services, without the tree that it keeps of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from libp2p.tools.anyio_service.api import ServiceAPI
from libp2p.tools.anyio_service.trio_manager import TrioManager


class FlatManager(TrioManager):
    """All tasks are roots.

    py-libp2p looks through all tasks that there are for the one that starts another: with a thousand connections that
    is much of what a new one costs.
    """

    def _find_parent_task(self, trio_task: trio.lowlevel.Task) -> None:
        return None


@asynccontextmanager
async def background_service(service: ServiceAPI) -> AsyncIterator[None]:
    """Run `service` for as long as the block goes on; as ``libp2p.tools.anyio_service.background_trio_service``."""
    async with trio.open_nursery() as nursery:
        manager = FlatManager(service)
        service._manager = manager
        nursery.start_soon(manager.run)
        await manager.wait_started()
        try:
            yield
        finally:
            await manager.stop()
