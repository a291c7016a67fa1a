"""Announcements follow what is offered; on both back ends, with discoveries that stand in for real ones."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import anyio
import pytest
from plasm_finding.info import PROTOCOL, read
from plasm_provider.advertising import NOT_YET, RUNNING, Advertising, Network
from plasm_provider.catalog import Catalog
from plasm_provider.known import KnownHashes
from plasm_trust.published import Published

from plasm.identity import peer_id
from plasm.ports import BootTopic, DiscoveryError, Topic
from plasm.testing import (
    FakeSigner,
    MemoryNetwork,
    StaticDirectory,
    StaticDiscovery,
    open_memory_transport,
)

LOG = logging.getLogger("plasm.service.provider")
STABLE, TESTING = BootTopic("stable", "x86_64"), BootTopic("testing", "arm64")
PEER = peer_id(bytes([7]) * 32)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def published(**channels: int) -> Published:
    """Nothing but manifests: ``stable=3`` is version 3 of stable for x86_64."""
    arches = {"stable": "x86_64", "testing": "arm64"}
    return Published(
        artifacts={},
        manifests={(name, arches[name]): b"{}" for name in channels},
        metadata={},
        expires=datetime.now(UTC),
        root_fingerprint="",
        versions=MappingProxyType(channels),
        refused={},
    )


@asynccontextmanager
async def advertising(network: Network, catalog: Catalog) -> AsyncIterator[Advertising]:
    advertising = Advertising(network, catalog, [("127.0.0.1", 8080)], 8080, LOG)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(20):
            await tasks.start(advertising.run)
            yield advertising
        tasks.cancel_scope.cancel()


async def until(directory: StaticDirectory, holds: Callable[[], bool]) -> None:
    while not holds():
        await directory.changed()


def properties(directory: StaticDirectory, topic: Topic) -> list[Mapping[str, str]]:
    return [found.properties for found in directory.providers(topic)]


async def test_each_channel_is_announced_with_its_version_and_port(tmp_path: Path) -> None:
    directory = StaticDirectory()
    catalog = Catalog(KnownHashes(None), LOG)
    await catalog.publish(published(stable=3, testing=1), tmp_path)
    network = Network(peer=PEER, discoveries=(("static", StaticDiscovery(directory, PEER)),))
    async with advertising(network, catalog) as running:
        assert properties(directory, STABLE) == [{"version": "3", "http_port": "8080"}]
        assert properties(directory, TESTING) == [{"version": "1", "http_port": "8080"}]
        assert directory.providers(STABLE)[0].addresses == (f"/ip4/127.0.0.1/tcp/8080/http/p2p/{PEER}",)
        assert running.states == {"static": RUNNING}
    assert directory.providers(STABLE) == directory.providers(TESTING) == ()


async def test_what_changes_is_announced_anew_and_what_goes_is_taken_back(tmp_path: Path) -> None:
    directory = StaticDirectory()
    catalog = Catalog(KnownHashes(None), LOG)
    await catalog.publish(published(stable=3, testing=1), tmp_path)
    network = Network(peer=PEER, discoveries=(("static", StaticDiscovery(directory, PEER)),))
    async with advertising(network, catalog):
        await catalog.publish(published(stable=4), tmp_path)
        await until(directory, lambda: not directory.providers(TESTING))
        await until(directory, lambda: properties(directory, STABLE) == [{"version": "4", "http_port": "8080"}])
        await catalog.publish(published(stable=4, testing=2), tmp_path)
        await until(directory, lambda: properties(directory, TESTING) == [{"version": "2", "http_port": "8080"}])


class Silent:
    """A discovery that cannot announce."""

    async def advertise(self, *arguments: object, **options: object) -> None:
        raise DiscoveryError("the wire is cut")


async def test_a_discovery_that_fails_is_named_and_disturbs_no_other(tmp_path: Path) -> None:
    directory = StaticDirectory()
    catalog = Catalog(KnownHashes(None), LOG)
    await catalog.publish(published(stable=3), tmp_path)
    discoveries = (("silent", Silent()), ("static", StaticDiscovery(directory, PEER)))
    network = Network(peer=PEER, discoveries=discoveries, absent={"dht": "left out"})  # type: ignore[arg-type]
    async with advertising(network, catalog) as running:
        assert running.states == {"dht": "left out", "silent": "the wire is cut", "static": RUNNING}
        assert properties(directory, STABLE) == [{"version": "3", "http_port": "8080"}]


class Mute:
    """A discovery that never says whether it announces."""

    async def advertise(self, *arguments: object, **options: object) -> None:
        await anyio.sleep_forever()


async def test_a_discovery_that_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plasm_provider.advertising.ANNOUNCE_SECONDS", 0.05)
    catalog = Catalog(KnownHashes(None), LOG)
    await catalog.publish(published(stable=3), tmp_path)
    network = Network(peer=PEER, discoveries=(("mute", Mute()),))  # type: ignore[arg-type]
    async with advertising(network, catalog) as running:
        assert running.states == {"mute": NOT_YET}


class Broken:
    """A discovery with a defect."""

    async def advertise(self, *arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a defect")


async def test_a_discovery_with_a_defect_costs_its_announcements_alone(tmp_path: Path) -> None:
    catalog = Catalog(KnownHashes(None), LOG)
    await catalog.publish(published(stable=3), tmp_path)
    network = Network(peer=PEER, discoveries=(("broken", Broken()),))  # type: ignore[arg-type]
    async with advertising(network, catalog) as running:
        assert running.states == {"broken": "ZeroDivisionError('a defect')"}


async def test_whoever_asks_over_a_transport_is_told_the_port_and_the_channels(tmp_path: Path) -> None:
    memory, catalog = MemoryNetwork(), Catalog(KnownHashes(None), LOG)
    await catalog.publish(published(stable=3, testing=1), tmp_path)
    async with (
        open_memory_transport(memory, FakeSigner(1), listen=True) as serving,
        open_memory_transport(memory, FakeSigner(2)) as asking,
    ):
        peer = peer_id(FakeSigner(1).public_key)
        async with advertising(Network(peer=peer, transports=(("memory", serving),)), catalog):
            stream = await asking.open_stream(peer, serving.addresses, PROTOCOL)
            await stream.send_eof()
            info = await read(stream.receive)
            await stream.aclose()
    assert (info.http_port, info.channels) == (8080, (("stable", "x86_64"), ("testing", "arm64")))
