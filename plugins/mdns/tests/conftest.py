from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plasm_mdns.hooks import MdnsOptions, open_mdns

from plasm.drivers import Scope
from plasm.identity import peer_id
from plasm.ports import CapabilityTopic, Discovery, Found, PeerId, Topic


class Identity:
    """A signer that is only asked for its name."""

    def __init__(self, seed: int) -> None:
        self.public_key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()
        self.peer: PeerId = peer_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError

    def address(self, port: int = 4001, host: str = "/ip4/127.0.0.1") -> str:
        return f"{host}/tcp/{port}/p2p/{self.peer}"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def identity() -> Callable[[int], Identity]:
    return Identity


@pytest.fixture
def open_as() -> Callable[..., AbstractAsyncContextManager[Discovery]]:
    def open_as(
        identity: Identity, allows: Callable[[str], bool] = lambda ip: True, **options: object
    ) -> AbstractAsyncContextManager[Discovery]:
        scope = Scope(home=None, allows=allows, log=logging.getLogger("test"), provided=lambda port: identity)
        return open_mdns(scope, MdnsOptions(**{"interfaces": ("lo",), "poll_seconds": 0.05} | options))

    return open_as


@pytest.fixture
def topic() -> Topic:
    """One that no other test, and no other run of the tests on this machine, uses."""
    return CapabilityTopic("x86_64", f"test-{secrets.token_hex(4)}")


@pytest.fixture
def searching() -> Callable[[Discovery, Topic], AbstractAsyncContextManager[MemoryObjectReceiveStream[Found]]]:
    @asynccontextmanager
    async def searching(discovery: Discovery, topic: Topic) -> AsyncIterator[MemoryObjectReceiveStream[Found]]:
        send, receive = anyio.create_memory_object_stream[Found](16)
        async with send, receive, anyio.create_task_group() as tasks:
            tasks.start_soon(discovery.find, topic, send)
            with anyio.fail_after(20):
                yield receive
            tasks.cancel_scope.cancel()

    return searching
