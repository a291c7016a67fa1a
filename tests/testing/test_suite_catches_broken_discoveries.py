"""Discoveries that break one promise each; DiscoverySuite must notice."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from plasm.ports import BootTopic, CapabilityTopic, DiscoveryError, Found
from plasm.testing import DiscoverySuite, FakeSigner, Participant, StaticDirectory, StaticDiscovery

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One back end is enough: what is tried here is the suite."""
    return "trio"


ELSEWHERE = CapabilityTopic("arm64", "suite")


class FindsItself(StaticDiscovery):
    async def find(self, topic, found):
        for one in self._directory.providers(topic):
            await found.send(one)
        await super().find(topic, found)


class FindsItselfLater(StaticDiscovery):
    async def find(self, topic, found):
        async with anyio.create_task_group() as group:
            group.start_soon(super().find, topic, found)
            await self._directory.changed()
            await anyio.sleep(0.02)
            for one in self._directory.providers(topic):
                await found.send(one)


class FindsOnce(StaticDiscovery):
    async def find(self, topic, found):
        with anyio.move_on_after(0.01):
            await super().find(topic, found)


class FindsOnlyWhatWasThere(StaticDiscovery):
    async def find(self, topic, found):
        for one in self._directory.providers(topic):
            if one.peer != self._peer:
                await found.send(one)
        await anyio.sleep_forever()


class FindsOneOnly(StaticDiscovery):
    async def find(self, topic, found):
        send, receive = anyio.create_memory_object_stream(0)
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(super().find, topic, send)
            await found.send(await receive.receive())
            await anyio.sleep_forever()


class IgnoresTheTopic(StaticDiscovery):
    async def find(self, topic, found):
        async with anyio.create_task_group() as group:
            for one in (topic, ELSEWHERE, BootTopic("stable", "x86_64")):
                group.start_soon(super().find, one, found)


class NeverTakesBack(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        try:
            await super().advertise(topic, addresses, properties, task_status=task_status)
        finally:
            self._directory.put(topic, Found(self._peer, tuple(addresses()), "static"))


class TakesEverythingBack(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        try:
            await super().advertise(topic, addresses, properties, task_status=task_status)
        finally:
            self._directory._records.clear()
            self._directory.put = lambda topic, found: None


class IsStartedBeforeItAnnounces(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        task_status.started()
        await anyio.sleep_forever()


class IsNeverStarted(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        await super().advertise(topic, addresses, properties, task_status=anyio.TASK_STATUS_IGNORED)


class AdvertisesOnce(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        with anyio.move_on_after(0.01):
            await super().advertise(topic, addresses, properties, task_status=task_status)


class AsksForAddressesOnce(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        once = addresses()
        await super().advertise(topic, lambda: once, properties, task_status=task_status)


class DropsProperties(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        await super().advertise(topic, addresses, {}, task_status=task_status)


class AdvertisesSomebodyElsesAddress(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        other = FakeSigner(50).peer
        await super().advertise(topic, lambda: [f"/memory/1/p2p/{other}"], properties, task_status=task_status)


class AdvertisesOtherAddresses(StaticDiscovery):
    async def advertise(self, topic, addresses, properties, *, task_status):
        await super().advertise(topic, lambda: [f"/memory/77/p2p/{self._peer}"], properties, task_status=task_status)


class FailsWhenSomebodyComes(StaticDiscovery):
    async def find(self, topic, found):
        await self._directory.changed()
        raise DiscoveryError("confused")


class LooksOneAtATime(StaticDiscovery):
    looking = False

    async def find(self, topic, found):
        if self.looking:
            await anyio.sleep_forever()
        self.looking = True
        await super().find(topic, found)


class SaysNothingOfItsSources(StaticDiscovery):
    def sources(self):
        return ()


BROKEN = [
    (FindsItself, "test_nobody_finds_itself", "never sends this node itself", {}),
    (FindsItselfLater, "test_nobody_finds_itself", "never sends this node itself", {}),
    (FindsOnce, "test_looking_goes_on_until_it_is_cancelled", "never returns on its own", {}),
    (FindsOnce, "test_what_is_advertised_later_is_found_as_it_becomes_known", "never returns on its own", {}),
    (FindsOnlyWhatWasThere, "test_what_is_advertised_later_is_found_as_it_becomes_known", "become known", {}),
    (FindsOneOnly, "test_every_provider_is_found", "each provider", {}),
    (IgnoresTheTopic, "test_a_provider_of_something_else_is_not_found", "is not found under", {"other": ELSEWHERE}),
    (NeverTakesBack, "test_what_is_taken_back_is_not_found_any_more", "takes the announcement back", {}),
    (TakesEverythingBack, "test_two_topics_are_advertised_at_once", "leaves the other", {}),
    (IsStartedBeforeItAnnounces, "test_what_is_advertised_is_found", "each provider", {}),
    (IsNeverStarted, "test_what_is_advertised_is_found", r"started\(\)", {}),
    (AdvertisesOnce, "test_advertising_goes_on_until_it_is_cancelled", "goes on until it is cancelled", {}),
    (AsksForAddressesOnce, "test_a_change_of_addresses_is_told", "addresses", {}),
    (DropsProperties, "test_properties_come_with_it", "properties that were advertised", {}),
    (AdvertisesSomebodyElsesAddress, "test_what_is_advertised_is_found", "its own peer", {}),
    (AdvertisesOtherAddresses, "test_what_is_advertised_is_found", "at what it advertises", {}),
    (FailsWhenSomebodyComes, "test_what_is_advertised_later_is_found_as_it_becomes_known", "confused", {}),
    (LooksOneAtATime, "test_two_look_at_once", "each of two that look at once", {}),
    (SaysNothingOfItsSources, "test_what_it_says_about_its_sources_is_fit_to_be_shown", "where it looks", {}),
]


@pytest.mark.parametrize(("broken", "test", "promise", "arguments"), BROKEN)
async def test_a_discovery_that_breaks_a_promise_fails(catches, broken, test, promise, arguments) -> None:
    class Suite(DiscoverySuite):
        settle = 0.1
        renews_within = 0.05

    @asynccontextmanager
    async def make(count: int):
        directory = StaticDirectory()
        yield [
            Participant(
                discovery=broken(directory, peer, renew_seconds=0.05),
                peer=peer,
                addresses=(f"/memory/{seed}/p2p/{peer}",),
                moved=(f"/memory/{seed + 10}/p2p/{peer}",),
            )
            for seed, peer in ((seed, FakeSigner(seed).peer) for seed in range(1, count + 1))
        ]

    await catches(Suite(), test, make, promise, **arguments)
