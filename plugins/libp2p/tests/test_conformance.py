"""Both drivers keep what their ports promise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from plasm_libp2p.hooks import DhtOptions, Libp2pOptions, open_discovery, open_transport

from plasm.ports import Signer, Transport
from plasm.testing import DiscoverySuite, FakeSigner, Participant, TransportSuite, make_scope


def _transport(seed: int, listen: bool) -> AbstractAsyncContextManager[Transport]:
    addresses = ("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0") if listen else ()
    scope = make_scope(listen=addresses, provided={Signer: FakeSigner(seed)})
    return open_transport(scope, Libp2pOptions(dial_timeout_seconds=2))


class TestLibp2p(TransportSuite):
    @pytest.fixture
    def make(self) -> Callable[..., AbstractAsyncContextManager[Transport]]:
        def make(seed: int = 0, listen: bool = True) -> AbstractAsyncContextManager[Transport]:
            return _transport(seed, listen)

        return make


class TestDht(DiscoverySuite):
    carries_properties = False
    renews_within = 3.0

    @pytest.fixture
    def make(self) -> Callable[[int], AbstractAsyncContextManager[list[Participant]]]:
        @asynccontextmanager
        async def make(count: int) -> AsyncIterator[list[Participant]]:
            async with AsyncExitStack() as stack:
                participants: list[Participant] = []
                known: tuple[str, ...] = ()
                for seed in range(1, count + 1):
                    transport: Any = await stack.enter_async_context(_transport(seed, True))
                    scope = make_scope(bootstrap=known, provided={Transport: transport})
                    options = DhtOptions(provide_seconds=2.0)
                    discovery = await stack.enter_async_context(open_discovery(scope, options))
                    known = known or tuple(transport.addresses)
                    participants.append(
                        Participant(
                            discovery=discovery,
                            peer=FakeSigner(seed).peer,
                            addresses=tuple(transport.addresses),
                            moved=(f"/ip4/127.0.0.9/tcp/4001/p2p/{FakeSigner(seed).peer}",),
                        )
                    )
                yield participants

        return make
