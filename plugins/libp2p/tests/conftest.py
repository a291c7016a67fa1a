"""Nodes on loopback, each with a key of its own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plasm_libp2p.dht import Dht, open_dht
from plasm_libp2p.hooks import DhtOptions, Libp2pOptions
from plasm_libp2p.transport import Libp2p, open_libp2p

from plasm.drivers import AddressFilter, Scope
from plasm.ports import Signer, Stream, Transport

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
ECHO = "/phase/echo/1"


class KeyInMemory:
    """A signer that counts what it signed."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.signed: list[bytes] = []

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def sign(self, message: bytes) -> bytes:
        self.signed.append(message)
        return self._key.sign(message)


def any_address(ip: str) -> bool:
    return True


def make_scope(
    provided: dict[type[Any], object],
    *,
    listen: Sequence[str] = (),
    bootstrap: Sequence[str] = (),
    allows: AddressFilter = any_address,
) -> Scope:
    return Scope(
        home=None,
        allows=allows,
        log=logging.getLogger("plasm.tests.libp2p"),
        listen=tuple(listen),
        bootstrap=tuple(bootstrap),
        provided=lambda port: provided[port],
    )


def transport_with(
    listen: Sequence[str] = LOOPBACK,
    *,
    allows: AddressFilter = any_address,
    signer: Signer | None = None,
    **options: Any,
) -> AbstractAsyncContextManager[Libp2p]:
    scope = make_scope({Signer: signer or KeyInMemory()}, listen=listen, allows=allows)
    return open_libp2p(scope, Libp2pOptions(**options))


@asynccontextmanager
async def dht_node(
    bootstrap: Sequence[str] = (), listen: Sequence[str] = LOOPBACK, **options: Any
) -> AsyncIterator[tuple[Libp2p, Dht]]:
    async with transport_with(listen) as transport:
        scope = make_scope({Transport: transport}, bootstrap=bootstrap)
        async with open_dht(scope, DhtOptions(**options)) as dht:
            yield transport, dht


async def echo(stream: Stream) -> None:
    while data := await stream.receive():
        await stream.send(data)


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Until `condition` holds; there is no event to wait for inside of what is tested."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


class Net:
    """Everything that a test needs to put nodes on loopback."""

    ECHO = ECHO
    LOOPBACK = LOOPBACK
    signer = KeyInMemory
    scope = staticmethod(make_scope)
    transport = staticmethod(transport_with)
    node = staticmethod(dht_node)
    echo = staticmethod(echo)
    eventually = staticmethod(eventually)

    @staticmethod
    def port(address: str) -> int:
        """The TCP port in a multiaddr."""
        return int(address.split("/")[4])

    @staticmethod
    async def answers(client: Libp2p, server: Libp2p, data: bytes = b"hello") -> None:
        """`server` echoes `data` on a stream of its own."""
        with anyio.fail_after(10):
            stream = await client.open_stream(server.peer, server.addresses, ECHO)
            await stream.send(data)
            await stream.send_eof()
            received = b""
            while piece := await stream.receive():
                received += piece
            assert received == data
            await stream.aclose()

    @staticmethod
    @asynccontextmanager
    async def echoing(**options: Any) -> AsyncIterator[Libp2p]:
        """A transport that echoes."""
        async with transport_with(**options) as transport, anyio.create_task_group() as tasks:
            await tasks.start(transport.serve, ECHO, echo)
            yield transport
            tasks.cancel_scope.cancel()


@pytest.fixture(params=["trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def net() -> type[Net]:
    return Net
