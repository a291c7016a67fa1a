"""Finds providers for a mirror."""

from __future__ import annotations

from typing import Final

import anyio
from plasm_finding import ProviderFound, find_providers

from plasm.drivers import AddressFilter
from plasm.ports import BootTopic
from plasm_provider.advertising import Network
from plasm_provider.sources.bases import Bases

AGAIN_SECONDS: Final = 300.0
"""A search names each provider once; one that was given up meanwhile is found again by another."""


async def search(network: Network, topic: BootTopic, bases: Bases, *, allows: AddressFilter) -> None:
    """Tell `bases` of providers of `topic`, until cancelled."""
    transports = [transport for _, transport in network.transports]
    discoveries = [discovery for _, discovery in network.discoveries]
    send, receive = anyio.create_memory_object_stream[ProviderFound](16)

    async def find() -> None:
        while True:
            with anyio.move_on_after(AGAIN_SECONDS):
                await find_providers(transports, discoveries, topic, send, allows=allows)
                await anyio.sleep_forever()

    async with send, receive, anyio.create_task_group() as tasks:
        tasks.start_soon(find)
        async for found in receive:
            bases.found(found.base_url)
