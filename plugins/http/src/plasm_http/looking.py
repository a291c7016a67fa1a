"""Providers that nobody named: found by the discoveries that are open, for as long as the store is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio
from plasm_fetching.http import InvalidUrl
from plasm_finding import ProviderFound, find_providers

from plasm.drivers import AddressFilter
from plasm.ports import BootTopic, Discovery, Transport
from plasm_http.asking import parse_base
from plasm_http.providers import Providers

FIRST_SECONDS: Final = 5.0
"""For which the first provider is waited for: a discovery that has just begun needs a second or two."""


class Looking:
    """Adds whoever is found to `providers`."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._began = anyio.current_time()
        self._found = anyio.Event()

    async def run(
        self, transports: Sequence[Transport], discoveries: Sequence[Discovery], topic: BootTopic, allows: AddressFilter
    ) -> None:
        """Look for providers of `topic` until cancelled."""
        send, receive = anyio.create_memory_object_stream[ProviderFound]()
        async with send, receive, anyio.create_task_group() as tasks:
            # Not a keyword of start_soon, which takes none.
            tasks.start_soon(_find, transports, discoveries, topic, send, allows)
            async for found in receive:
                try:
                    self._providers.found(parse_base(found.base_url))
                except InvalidUrl:
                    continue
                self._found.set()

    async def somebody(self) -> None:
        """Wait until somebody was found, or was looked for long enough."""
        with anyio.move_on_at(self._began + FIRST_SECONDS):
            await self._found.wait()


async def _find(
    transports: Sequence[Transport],
    discoveries: Sequence[Discovery],
    topic: BootTopic,
    send: anyio.abc.ObjectSendStream[ProviderFound],
    allows: AddressFilter,
) -> None:
    await find_providers(transports, discoveries, topic, send, allows=allows)
