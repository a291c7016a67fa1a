from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from plasm_mdns.hooks import MdnsOptions, open_mdns

from plasm.identity import peer_id
from plasm.ports import Signer
from plasm.testing import DiscoverySuite, Participant, make_scope


class Key:
    """A signer that is only asked for its name, which no other run of the tests on this link has."""

    def __init__(self) -> None:
        self.public_key = os.urandom(32)

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError


class TestMdns(DiscoverySuite):
    renews_within = 1.0

    @pytest.fixture
    def make(self):
        @asynccontextmanager
        async def make(count: int) -> AsyncIterator[Sequence[Participant]]:
            async with AsyncExitStack() as stack:
                participants = []
                for _ in range(count):
                    key = Key()
                    options = MdnsOptions(interfaces=("lo",), poll_seconds=0.1)
                    opened = open_mdns(make_scope(provided={Signer: key}), options)
                    peer = peer_id(key.public_key)
                    participants.append(
                        Participant(
                            discovery=await stack.enter_async_context(opened),
                            peer=peer,
                            addresses=(f"/ip4/127.0.0.1/tcp/4001/p2p/{peer}",),
                            moved=(f"/ip4/127.0.0.1/tcp/4002/p2p/{peer}", f"/ip6/::1/tcp/4002/p2p/{peer}"),
                        )
                    )
                yield participants

        return make
