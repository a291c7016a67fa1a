"""Each fake passes the suite of its port, on both back ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from plasm.drivers import Options
from plasm.ports import Digest, Signer, Store
from plasm.testing import (
    DictStore,
    DiscoverySuite,
    FakeSigner,
    MemoryNetwork,
    Participant,
    RuntimeSuite,
    ScriptedRuntime,
    SignerSuite,
    StaticDirectory,
    StaticDiscovery,
    StoreSuite,
    TransportSuite,
    dict_driver,
    fake_signer_driver,
    make_scope,
    memory_driver,
    scripted_driver,
)
from plasm.testing.fakes.scripts import module_scripts


class TestDictStore(StoreSuite):
    @pytest.fixture
    def make(self):
        return lambda: dict_driver().open(make_scope(), Options())

    async def corrupt(self, store: Store, digest: Digest, content: bytes) -> bool:
        assert isinstance(store, DictStore)
        store.contents[digest] = content
        return True


class TestFakeSigner(SignerSuite):
    @pytest.fixture
    def make(self):
        return lambda: fake_signer_driver(7).open(make_scope(), Options())


class TestScriptedRuntime(RuntimeSuite):
    @pytest.fixture
    def make(self):
        return lambda: scripted_driver(ScriptedRuntime(module_scripts())).open(make_scope(), Options())


class TestMemoryTransport(TransportSuite):
    @pytest.fixture
    def make(self):
        driver = memory_driver(MemoryNetwork())

        def make(seed: int, *, listen: bool = True):
            listens = ("/memory/0",) if listen else ()
            return driver.open(make_scope(listen=listens, provided={Signer: FakeSigner(seed)}), Options())

        return make


class TestStaticDiscovery(DiscoverySuite):
    settle = 0.1
    renews_within = 0.05

    @pytest.fixture
    def make(self):
        @asynccontextmanager
        async def make(count: int) -> AsyncIterator[Sequence[Participant]]:
            directory = StaticDirectory()
            peers = [FakeSigner(seed).peer for seed in range(count)]
            yield [
                Participant(
                    discovery=StaticDiscovery(directory, peer, renew_seconds=self.renews_within),
                    peer=peer,
                    addresses=(f"/memory/{seed}/p2p/{peer}",),
                    moved=(f"/memory/{seed + 10}/p2p/{peer}",),
                )
                for seed, peer in enumerate(peers, 1)
            ]

        return make
