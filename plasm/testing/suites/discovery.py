"""What every discovery must do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import anyio
import pytest
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream

from plasm.identity import peer_of_address
from plasm.ports import Bootstrapped, BootTopic, CapabilityTopic, Discovery, Found, PeerId, Topic
from plasm.testing.suites.background import Background, tasks
from plasm.testing.suites.promises import within

_TOPIC = CapabilityTopic("x86_64", "suite")
_OTHERS: Sequence[Topic] = (
    CapabilityTopic("arm64", "suite"),
    CapabilityTopic("x86_64", "another"),
    BootTopic("stable", "x86_64"),
    BootTopic("testing", "x86_64"),
)


@dataclass(frozen=True, kw_only=True)
class Participant:
    """A discovery as part of the network that :class:`DiscoverySuite` is given."""

    discovery: Discovery
    peer: PeerId
    addresses: tuple[str, ...]
    """What it advertises: multiaddrs ending in ``/p2p/PEER`` with its own `peer`."""
    moved: tuple[str, ...] = ()
    """What it advertises after a move; empty where its addresses cannot change while it runs."""


MakeDiscovery = Callable[[int], AbstractAsyncContextManager[Sequence[Participant]]]


class DiscoverySuite:
    """`make(count)` returns the async context manager of `count` (2 or 3) participants that can find one another.

    Whatever that takes is done by then: bootstrapped, connected, multicasting on one interface. A network in use by
    others does no harm: the suite looks only at its own peers.
    """

    pytestmark = pytest.mark.anyio
    patience: float = 15.0
    settle: float = 1.0
    """Seconds after which what must not come is believed not to come."""
    carries_properties: bool = True
    """False for a network that has no place for them."""
    takes_back: bool = True
    """False for a network whose records cannot be taken back and lapse instead."""
    renews_within: float | None = None
    """Seconds after which a change of addresses has been announced; ``None`` leaves that untried."""

    async def start_advertising(
        self,
        group: TaskGroup,
        participant: Participant,
        topic: Topic = _TOPIC,
        *,
        properties: Mapping[str, str] | None = None,
        addresses: Callable[[], Sequence[str]] | None = None,
    ) -> Background:
        """Advertise in a task."""
        advertising = Background()

        async def advertise(*, task_status: TaskStatus[None]) -> None:
            try:
                with advertising.scope:
                    await participant.discovery.advertise(
                        topic, addresses or (lambda: participant.addresses), properties or {}, task_status=task_status
                    )
                assert advertising.scope.cancel_called, "advertise goes on until it is cancelled"
            except Exception as error:
                raise AssertionError(f"advertise goes on until it is cancelled; it raised {error!r}") from error
            finally:
                advertising.ended.set()

        with within(self.patience, "advertise says started() once it has announced"):
            await group.start(advertise)
        return advertising

    async def take_back(self, advertising: Background) -> None:
        await advertising.stop(self.patience, "cancelling ends advertise")

    def start_finding(
        self, group: TaskGroup, participant: Participant, topic: Topic = _TOPIC
    ) -> MemoryObjectReceiveStream[Found]:
        """Look in a task; what is found comes out of the stream."""
        send, receive = anyio.create_memory_object_stream[Found](1000)

        async def find() -> None:
            try:
                await participant.discovery.find(topic, send)
            except Exception as error:
                raise AssertionError(f"find goes on until it is cancelled; it raised {error!r}") from error
            raise AssertionError("find never returns on its own")

        group.start_soon(find)
        return receive

    async def wait_for(
        self,
        results: MemoryObjectReceiveStream[Found],
        of: Participant,
        promise: str,
        *,
        at: Sequence[str] | None = None,
    ) -> Found:
        """The first that `results` has of a participant, at those addresses if any are named."""
        with within(self.patience, promise):
            while True:
                found = await results.receive()
                self.check_found(found)
                if found.peer == of.peer and (at is None or set(at) <= set(found.addresses)):
                    return found
        raise AssertionError(promise)

    def check_found(self, found: Found) -> None:
        """What holds for everything that is found."""
        assert isinstance(found.addresses, tuple), "addresses are a tuple"
        for address in found.addresses:
            assert peer_of_address(address) == found.peer, f"an address ends in /p2p/ and its own peer, not {address!r}"
        assert found.source, "source names the discovery that said so"
        for key, value in found.properties.items():
            assert isinstance(key, str), "properties are text"
            assert isinstance(value, str), "properties are text"

    async def never(self, results: MemoryObjectReceiveStream[Found], peer: PeerId, promise: str) -> None:
        """`peer` does not come out of `results` while the network settles."""
        with anyio.move_on_after(self.settle):
            while True:
                found = await results.receive()
                assert found.peer != peer, promise

    async def test_what_is_advertised_is_found(self, make: MakeDiscovery) -> None:
        async with make(2) as (advertiser, seeker), tasks() as group:
            await self.start_advertising(group, advertiser)
            results = self.start_finding(group, seeker)
            found = await self.wait_for(results, advertiser, "find sends each provider of the topic")
            assert set(found.addresses) & set(advertiser.addresses), (
                f"a provider is found at what it advertises: {advertiser.addresses}, not {found.addresses}"
            )

    async def test_what_is_advertised_later_is_found_as_it_becomes_known(self, make: MakeDiscovery) -> None:
        async with make(2) as (advertiser, seeker), tasks() as group:
            results = self.start_finding(group, seeker)
            await anyio.sleep(min(self.settle, 0.5))
            await self.start_advertising(group, advertiser)
            await self.wait_for(results, advertiser, "find sends providers as they become known, while it looks")

    async def test_nobody_finds_itself(self, make: MakeDiscovery) -> None:
        async with make(2) as (one, other), tasks() as group:
            await self.start_advertising(group, one)
            results = self.start_finding(group, one)
            await self.never(results, one.peer, "find never sends this node itself")
            await self.start_advertising(group, other)
            promise = "find never sends this node itself, though it goes on and finds others"
            with within(self.patience, "a node that advertises finds others"):
                while True:
                    found = await results.receive()
                    assert found.peer != one.peer, promise
                    if found.peer == other.peer:
                        break
            await self.never(results, one.peer, promise)

    async def test_both_find_each_other(self, make: MakeDiscovery) -> None:
        async with make(2) as (one, other), tasks() as group:
            await self.start_advertising(group, one)
            await self.start_advertising(group, other)
            first, second = self.start_finding(group, one), self.start_finding(group, other)
            await self.wait_for(first, other, "each of two nodes finds the other")
            await self.wait_for(second, one, "each of two nodes finds the other")

    async def test_every_provider_is_found(self, make: MakeDiscovery) -> None:
        async with make(3) as (first, second, seeker), tasks() as group:
            await self.start_advertising(group, first)
            await self.start_advertising(group, second)
            results = self.start_finding(group, seeker)
            missing = {first.peer, second.peer}
            with within(self.patience, "find sends each provider, not one of them"):
                while missing:
                    found = await results.receive()
                    self.check_found(found)
                    missing.discard(found.peer)

    @pytest.mark.parametrize("other", _OTHERS, ids=lambda topic: topic.key)
    async def test_a_provider_of_something_else_is_not_found(self, make: MakeDiscovery, other: Topic) -> None:
        async with make(2) as (advertiser, seeker), tasks() as group:
            await self.start_advertising(group, advertiser, other)
            looking_elsewhere = self.start_finding(group, seeker)
            # Once it is found where it is, it has had its time to appear where it is not.
            looking_there = self.start_finding(group, seeker, other)
            await self.wait_for(looking_there, advertiser, f"a provider of {other.key} is found under it")
            await self.never(
                looking_elsewhere, advertiser.peer, f"who offers {other.key} alone is not found under {_TOPIC.key}"
            )

    async def test_two_topics_are_advertised_at_once(self, make: MakeDiscovery) -> None:
        async with make(2) as (advertiser, seeker), tasks() as group:
            first = await self.start_advertising(group, advertiser, _TOPIC)
            await self.start_advertising(group, advertiser, _OTHERS[2])
            await self.wait_for(
                self.start_finding(group, seeker, _TOPIC), advertiser, "each of two topics is announced"
            )
            await self.take_back(first)
            await self.wait_for(
                self.start_finding(group, seeker, _OTHERS[2]), advertiser, "taking one topic back leaves the other"
            )

    async def test_two_look_at_once(self, make: MakeDiscovery) -> None:
        async with make(2) as (advertiser, seeker), tasks() as group:
            both = [self.start_finding(group, seeker) for _ in range(2)]
            await self.start_advertising(group, advertiser)
            for results in both:
                await self.wait_for(results, advertiser, "each of two that look at once is told of each provider")

    async def test_looking_again_finds_it_again(self, make: MakeDiscovery) -> None:
        async with make(2) as (advertiser, seeker), tasks() as group:
            await self.start_advertising(group, advertiser)
            for _ in range(2):
                async with tasks() as looking:
                    results = self.start_finding(looking, seeker)
                    await self.wait_for(results, advertiser, "each find tells of each provider, from the beginning")

    async def test_what_is_taken_back_is_not_found_any_more(self, make: MakeDiscovery) -> None:
        if not self.takes_back:
            pytest.skip("records of this network lapse, and cannot be taken back")
        async with make(2) as (advertiser, seeker), tasks() as group:
            advertising = await self.start_advertising(group, advertiser)
            async with tasks() as looking:
                results = self.start_finding(looking, seeker)
                await self.wait_for(results, advertiser, "what is advertised is found")
            await self.take_back(advertising)
            await anyio.sleep(min(self.settle, 0.5))
            results = self.start_finding(group, seeker)
            await self.never(results, advertiser.peer, "advertise takes the announcement back on the way out")

    async def test_what_was_taken_back_can_be_advertised_again(self, make: MakeDiscovery) -> None:
        async with make(2) as (advertiser, seeker), tasks() as group:
            for _ in range(2):
                advertising = await self.start_advertising(group, advertiser)
                async with tasks() as looking:
                    results = self.start_finding(looking, seeker)
                    await self.wait_for(results, advertiser, "what is advertised again is found again")
                await self.take_back(advertising)

    async def test_properties_come_with_it(self, make: MakeDiscovery) -> None:
        if not self.carries_properties:
            pytest.skip("this network carries no properties")
        properties = {"slots": "2", "version": "0.1.0"}
        async with make(2) as (advertiser, seeker), tasks() as group:
            await self.start_advertising(group, advertiser, properties=properties)
            results = self.start_finding(group, seeker)
            found = await self.wait_for(results, advertiser, "what is advertised is found")
            assert properties.items() <= dict(found.properties).items(), (
                f"the properties that were advertised come with it, not {dict(found.properties)!r}"
            )

    async def test_a_change_of_addresses_is_told(self, make: MakeDiscovery) -> None:
        if self.renews_within is None:
            pytest.skip("renewals are too far apart to wait for one")
        async with make(2) as (advertiser, seeker), tasks() as group:
            if not advertiser.moved:
                pytest.skip("addresses of this network cannot change while it runs")
            current = advertiser.addresses
            await self.start_advertising(group, advertiser, addresses=lambda: current)
            results = self.start_finding(group, seeker)
            await self.wait_for(results, advertiser, "what is advertised is found", at=current)
            current = advertiser.moved
            with within(self.renews_within + self.patience, "addresses are asked anew at each renewal"):
                await self.wait_for(
                    results, advertiser, "find sends a provider again when its addresses change", at=current
                )

    async def test_looking_goes_on_until_it_is_cancelled(self, make: MakeDiscovery) -> None:
        async with make(2) as (_, seeker):
            send, _receive = anyio.create_memory_object_stream[Found](1000)
            with within(self.settle + self.patience, "cancelling ends find"):
                with anyio.move_on_after(self.settle) as scope:
                    await seeker.discovery.find(_TOPIC, send)
                assert scope.cancelled_caught, "find never returns on its own, though nobody is there"

    async def test_looking_is_cancelled_while_nobody_takes_what_it_finds(self, make: MakeDiscovery) -> None:
        async with make(2) as (advertiser, seeker), tasks() as group:
            await self.start_advertising(group, advertiser)
            send, receive = anyio.create_memory_object_stream[Found](0)
            with within(self.settle + self.patience, "cancelling ends find, though it waits to send"):
                with anyio.move_on_after(self.settle):
                    await seeker.discovery.find(_TOPIC, send)
            receive.close()
            send.close()

    async def test_advertising_goes_on_until_it_is_cancelled(self, make: MakeDiscovery) -> None:
        async with make(2) as (advertiser, _), tasks() as group:
            advertising = await self.start_advertising(group, advertiser)
            await anyio.sleep(self.settle)
            assert not advertising.ended.is_set(), "advertise goes on until it is cancelled"
            await self.take_back(advertising)

    async def test_what_it_says_about_its_sources_is_fit_to_be_shown(self, make: MakeDiscovery) -> None:
        async with make(2) as (one, _):
            if not isinstance(one.discovery, Bootstrapped):
                pytest.skip("this discovery does not tell where it looks")
            sources = one.discovery.sources()
            assert sources, "sources() says where it looks"
            for source in sources:
                assert isinstance(source, str), "sources are text"
                assert source.strip(), "sources are text for people"
                assert "\n" not in source, "each source is one line"
