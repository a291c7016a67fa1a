"""Providers in memory, whose HTTP ports are real."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream
from plasm_finding import PROTOCOL, BootInfo, ProviderFound, find_providers, serve_boot_info
from plasm_finding.turns import SearchBounds

from plasm.drivers import AddressFilter
from plasm.ports import BootTopic, Discovery, Found, Stream, StreamHandler
from plasm.testing import (
    FakeSigner,
    MemoryNetwork,
    MemoryTransport,
    StaticDirectory,
    StaticDiscovery,
    any_address,
    open_memory_transport,
)

STABLE = BootTopic("stable", "x86_64")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def http_port() -> Iterator[int]:
    """A port that takes connections, as an HTTP server's does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that takes none."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@dataclass
class Lan:
    """Peers that find and dial each other in memory, and whoever looks for providers among them."""

    network: MemoryNetwork
    directory: StaticDirectory
    me: MemoryTransport
    peers: int = 0

    def found(
        self, transport: MemoryTransport, *, hosts: Sequence[str] = ("/ip4/127.0.0.1",), http_port: str | None = None
    ) -> Found:
        """What a discovery says of `transport`: a way to dial it in memory, and IP addresses."""
        addresses = tuple(f"{host}/tcp/4001/p2p/{transport.peer}" for host in hosts)
        properties = {} if http_port is None else {"http_port": http_port}
        return Found(transport.peer, (*transport.addresses, *addresses), "static", properties)

    def announce(self, transport: MemoryTransport, **facts: object) -> None:
        self.directory.put(STABLE, self.found(transport, **facts))  # type: ignore[arg-type]

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[MemoryTransport]:
        """A peer that speaks nothing yet."""
        self.peers += 1
        async with open_memory_transport(self.network, FakeSigner(self.peers)) as transport:
            yield transport

    @asynccontextmanager
    async def provider(
        self, http_port: int, channels: Sequence[tuple[str, str]] = (("stable", "x86_64"),)
    ) -> AsyncIterator[MemoryTransport]:
        """A provider, announced."""
        info = BootInfo(http_port=http_port, channels=tuple(channels))
        async with self.peer() as transport, anyio.create_task_group() as tasks:
            await tasks.start(partial(serve_boot_info, transport, lambda: info))
            self.announce(transport)
            yield transport
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def speaker(self, handler: StreamHandler, announced: bool = True) -> AsyncIterator[MemoryTransport]:
        """A peer that answers in its own way."""
        async with self.peer() as transport, anyio.create_task_group() as tasks:
            await tasks.start(partial(transport.serve, PROTOCOL, handler))
            if announced:
                self.announce(transport)
            yield transport
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def looking(
        self,
        discoveries: Sequence[Discovery] | None = None,
        allows: AddressFilter = any_address,
        bounds: SearchBounds | None = None,
    ) -> AsyncIterator[MemoryObjectReceiveStream[ProviderFound]]:
        """The providers that are found while the block runs."""
        send, receive = anyio.create_memory_object_stream[ProviderFound](64)
        own = StaticDiscovery(self.directory, self.me.peer)
        async with send, receive, anyio.create_task_group() as tasks:
            tasks.start_soon(
                partial(
                    find_providers,
                    [self.me],
                    [own] if discoveries is None else discoveries,
                    STABLE,
                    send,
                    allows=allows,
                    bounds=bounds,
                )
            )
            with anyio.fail_after(20):
                yield receive
            tasks.cancel_scope.cancel()


@pytest.fixture
def open_lan() -> Callable[[], AbstractAsyncContextManager[Lan]]:
    @asynccontextmanager
    async def open_lan() -> AsyncIterator[Lan]:
        network = MemoryNetwork()
        async with open_memory_transport(network, FakeSigner(), listen=False) as me:
            yield Lan(network, StaticDirectory(), me)

    return open_lan


@pytest.fixture
def saying() -> Callable[[bytes], StreamHandler]:
    """A handler that sends these bytes and ends."""

    def saying(data: bytes) -> StreamHandler:
        async def handler(stream: Stream) -> None:
            await stream.send(data)

        return handler

    return saying
