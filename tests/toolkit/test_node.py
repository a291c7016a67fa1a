"""Opening a plan: in order, with what each driver declared, and closed whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from plasm.drivers import Driver, DriverUnavailable, Options, Scope
from plasm.home import Home
from plasm.identity import peer_id
from plasm.node import OpenFailed, open_plan
from plasm.plan import Plan, make_plan
from plasm.ports import Discovery, PortError, Runtime, Signer, Store, Transport
from plasm.registry import Registered, Registry
from tests.toolkit.conftest import driver

pytestmark = pytest.mark.anyio

ORDER = ("signer", "store", "transport", "discovery", "runtime")


class Thing:
    """What a driver opens here; a signer as far as its public key goes."""

    def __init__(self, name: str, scope: Scope) -> None:
        self.name = name
        self.scope = scope
        self.public_key = b"p" * 32


class Workshop:
    """Makes drivers that write down when they are opened and closed."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.things: dict[str, Thing] = {}

    def opener(
        self, name: str, failure: BaseException | None = None
    ) -> Callable[[Scope, Any], AbstractAsyncContextManager[Any]]:
        @asynccontextmanager
        async def open_(scope: Scope, options: Options) -> AsyncIterator[Thing]:
            if failure is not None:
                raise failure
            self.events.append(f"open {name}")
            self.things[name] = Thing(name, scope)
            try:
                # As real drivers do: a task group around whatever happens while they are open.
                async with anyio.create_task_group():
                    yield self.things[name]
            finally:
                self.events.append(f"close {name}")

        return open_

    def driver(self, name: str, failure: BaseException | None = None, **facts: Any) -> Driver[Any]:
        return driver(name, open=self.opener(name, failure), **facts)


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


def plan_of(drivers: Sequence[tuple[str, Driver[Any]]], home: Path | None = None) -> Plan:
    registry = Registry(tuple(Registered(port, each, "plasm-made", "1.2") for port, each in drivers))
    names = [f"{port}:{each.name}" for port, each in drivers]
    return make_plan(registry, ports={port for port, _ in drivers}, cli=names, home=Home(home))


async def test_drivers_are_opened_in_order_and_closed_in_reverse(workshop: Workshop) -> None:
    plan = plan_of([(port, workshop.driver(f"a-{port}")) for port in reversed(ORDER)])
    async with open_plan(plan):
        assert workshop.events == [f"open a-{port}" for port in ORDER]
    assert workshop.events[5:] == [f"close a-{port}" for port in reversed(ORDER)]


async def test_the_objects_stand_under_their_ports_with_their_names(workshop: Workshop) -> None:
    drivers = [(port, workshop.driver(f"a-{port}")) for port in ORDER]
    async with open_plan(plan_of(drivers)) as ports:
        assert ports.signer is workshop.things["a-signer"]
        assert ports.peer == peer_id(b"p" * 32)
        for found, port in ((ports.stores, "store"), (ports.transports, "transport"), (ports.runtimes, "runtime")):
            assert found == ((f"a-{port}", workshop.things[f"a-{port}"]),)
        assert ports.discoveries[0][0] == "a-discovery"
        assert ports.services == ()


async def test_drivers_of_a_port_stand_in_order_of_preference_however_they_were_opened(workshop: Workshop) -> None:
    front = workshop.driver("front", needs=frozenset({"store:back"}))
    async with open_plan(plan_of([("store", front), ("store", workshop.driver("back"))])) as ports:
        assert workshop.events == ["open back", "open front"]
        assert [name for name, _ in ports.stores] == ["front", "back"]


async def test_a_plan_without_a_signer_has_no_identity(workshop: Workshop) -> None:
    async with open_plan(plan_of([("runtime", workshop.driver("engine"))])) as ports:
        with pytest.raises(LookupError, match="no signer"):
            _ = ports.peer


async def test_a_driver_gets_what_it_declared_and_no_more(workshop: Workshop) -> None:
    drivers = [
        ("signer", workshop.driver("key")),
        ("store", workshop.driver("disk")),
        ("transport", workshop.driver("tcp", needs=frozenset({"signer"}))),
        ("transport", workshop.driver("quic")),
        ("discovery", workshop.driver("dht", needs=frozenset({"transport:tcp"}))),
    ]
    async with open_plan(plan_of(drivers)):
        things = workshop.things
        assert things["tcp"].scope.require(Signer) is things["key"]  # type: ignore[type-abstract, comparison-overlap]
        for port in (Store, Transport, Discovery, Runtime):
            with pytest.raises(LookupError):
                things["tcp"].scope.require(port)
        assert things["dht"].scope.require(Transport) is things["tcp"]  # type: ignore[type-abstract, comparison-overlap]
        assert things["dht"].scope.require(Thing) is things["tcp"]
        with pytest.raises(LookupError):
            things["dht"].scope.require(Signer)  # type: ignore[type-abstract]
        with pytest.raises(LookupError):
            things["quic"].scope.require(Thing)


async def test_a_driver_can_ask_for_all_that_is_open_for_what_it_needs(workshop: Workshop) -> None:
    drivers = [
        ("discovery", workshop.driver("dht")),
        ("discovery", workshop.driver("mdns")),
        ("service", workshop.driver("provider", needs=frozenset({"discovery"}))),
    ]
    async with open_plan(plan_of(drivers)):
        scope = workshop.things["provider"].scope
        assert list(scope.require_all(Discovery)) == [workshop.things["dht"], workshop.things["mdns"]]  # type: ignore[type-abstract, comparison-overlap]
        assert list(scope.require_all(Signer)) == []  # type: ignore[type-abstract]


async def test_a_driver_that_comes_after_a_port_is_given_what_is_open_for_it(workshop: Workshop) -> None:
    drivers = [
        ("store", workshop.driver("http", after=frozenset({"discovery"}))),
        ("discovery", workshop.driver("dht")),
    ]
    async with open_plan(plan_of(drivers)):
        scope = workshop.things["http"].scope
        assert list(scope.require_all(Discovery)) == [workshop.things["dht"]]  # type: ignore[type-abstract, comparison-overlap]
        assert list(scope.require_all(Transport)) == []  # type: ignore[type-abstract]


async def test_addresses_go_to_those_who_dial_and_to_nobody_else(workshop: Workshop) -> None:
    plan = plan_of([(port, workshop.driver(f"a-{port}")) for port in ORDER])
    async with open_plan(plan, listen=["/ip4/127.0.0.1/tcp/0"], bootstrap=["/x"]):
        for port in ORDER:
            scope = workshop.things[f"a-{port}"].scope
            told = (("/ip4/127.0.0.1/tcp/0",), ("/x",)) if port in ("transport", "discovery") else ((), ())
            assert (scope.listen, scope.bootstrap) == told


async def test_each_driver_has_a_folder_and_a_log_of_its_own(workshop: Workshop, tmp_path: Path) -> None:
    drivers = [("signer", "file"), ("store", "fs"), ("store", "tape"), ("runtime", "engine"), ("discovery", "dht")]
    plan = plan_of([(port, workshop.driver(name)) for port, name in drivers], home=tmp_path)
    async with open_plan(plan):
        scopes = {name: thing.scope for name, thing in workshop.things.items()}
        homes = {name: str(scope.home.relative_to(tmp_path)) for name, scope in scopes.items() if scope.home}
        assert homes == {
            "file": "keys",
            "fs": "store/fs",
            "tape": "store/tape",
            "engine": "cache/engine",
            "dht": "discovery/dht",
        }
        assert scopes["dht"].log.name == "plasm.discovery.dht"
        assert scopes["dht"].allows is plan.allows


async def test_without_a_home_no_driver_has_a_folder(workshop: Workshop) -> None:
    async with open_plan(plan_of([("store", workshop.driver("fs"))])):
        assert workshop.things["fs"].scope.home is None


FAILURES: list[tuple[Exception, str, str]] = [
    (DriverUnavailable("no gmp.h", "apt-get install libgmp-dev"), "no gmp.h", "apt-get install libgmp-dev"),
    (ImportError("No module named 'gone'"), "No module named 'gone'", "install the distribution plasm-made 1.2 anew"),
    (PortError("the port is taken"), "the port is taken", ""),
    (ValueError("two\nlines"), "ValueError: two lines", "plasm-made"),
    (ExceptionGroup("group", [PortError("inside")]), "inside", ""),
]


@pytest.mark.parametrize(("failure", "reason", "mend"), FAILURES, ids=[type(each[0]).__name__ for each in FAILURES])
async def test_a_driver_that_cannot_be_opened_is_named_and_the_others_are_closed(
    workshop: Workshop, failure: Exception, reason: str, mend: str
) -> None:
    plan = plan_of([("signer", workshop.driver("key")), ("runtime", workshop.driver("bad", failure))])
    with pytest.raises(OpenFailed) as caught:
        async with open_plan(plan):
            pytest.fail("it was opened")
    assert caught.value.message == f"runtime:bad (plasm-made 1.2) cannot be opened: {reason}"
    assert mend in caught.value.mend
    assert caught.value.__cause__ is failure
    assert workshop.events == ["open key", "close key"]


async def test_what_the_block_raises_comes_out_as_it_is(workshop: Workshop) -> None:
    plan = plan_of([("signer", workshop.driver("key")), ("runtime", workshop.driver("engine"))])
    raised = PortError("of the block")
    with pytest.raises(PortError) as caught:
        async with open_plan(plan):
            raise raised
    assert caught.value is raised
    assert workshop.events[2:] == ["close engine", "close key"]


async def test_a_driver_that_fails_while_the_block_runs_is_heard(workshop: Workshop) -> None:
    @asynccontextmanager
    async def failing(scope: Scope, options: Options) -> AsyncIterator[object]:
        async def fail() -> None:
            raise PortError("in the background")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            yield object()

    plan = plan_of([("signer", workshop.driver("key")), ("runtime", driver("failing", open=failing))])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_plan(plan):
            await anyio.sleep(5)
    assert caught.group_contains(PortError, match="in the background")
    assert workshop.events == ["open key", "close key"]


async def test_cancelling_closes_everything(workshop: Workshop) -> None:
    plan = plan_of([("signer", workshop.driver("key")), ("runtime", workshop.driver("engine"))])
    with anyio.CancelScope() as scope:
        async with open_plan(plan):
            scope.cancel()
            await anyio.sleep(5)
    assert scope.cancelled_caught
    assert workshop.events[2:] == ["close engine", "close key"]
