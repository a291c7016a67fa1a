"""Providers found over the network, the fastest first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import anyio
import anyio.to_thread
from plasm_fetching.http import FetchError
from plasm_finding import ProviderFound, find_providers
from plasm_trust.layout import manifest_url

from plasm.commands import Context, fail, run_with_ports
from plasm.drivers import AddressFilter
from plasm.errors import PlasmError
from plasm.exitcodes import NO
from plasm.ports import Bootstrapped, BootTopic, Discovery, Transport
from plasm_boot.asking import ask

MOST_ANSWERS: Final = 64
MANIFEST_BYTES: Final = 256 * 1024

_BY_EITHER: Final = ("discovery:mdns", "discovery:dht")
_DRIVERS_OF: Final = {
    "discovery:mdns": frozenset({"discovery:mdns"}),
    "discovery:dht": frozenset({"discovery:dht"}),
    "transport:libp2p": frozenset({"discovery:dht"}),
}
"""A driver that could not be opened → what to do without."""

_LOG = logging.getLogger("plasm.boot")


@dataclass(frozen=True, kw_only=True)
class RankBounds:
    """How long providers are waited for, and how many at once."""

    rank_seconds: float = 1.0
    """For others to answer once one has: a choice needs two."""
    place_seconds: float = 1.0
    """After this one that has not answered gives its place to the next one, and is waited for beside it."""
    places: int = 16
    """Providers that are asked at once."""
    most_asked: int = 64
    """Those that gave their places away included; each is a thread."""


@dataclass(frozen=True)
class Answered:
    """A provider that answers."""

    provider: ProviderFound
    manifest_url: str
    seconds: float
    """For which a small request took."""


class Opened(Protocol):
    """What is used of the open ports."""

    @property
    def transports(self) -> Sequence[tuple[str, Transport]]: ...

    @property
    def discoveries(self) -> Sequence[tuple[str, Discovery]]: ...


class Planned(Protocol):
    """What is used of the plan."""

    @property
    def allows(self) -> AddressFilter: ...


def look_for(
    context: Context, topic: BootTopic, *, bootstrap: Sequence[str], seconds: float, nobody_is_fine: bool = False
) -> list[Answered]:
    """Look for providers of `topic` until one has answered and others had their chance, or `seconds` have passed.

    Over mDNS and the DHT, whichever of them can be used here, unless a profile or plugins were chosen; under an
    identity that lives as long as this takes. The fastest comes first. Raises
    :exc:`plasm.commands.CommandFailed` where none answered, unless that is fine, and
    :exc:`plasm.errors.PlasmError` where nothing can be opened.
    """
    settings = context.settings()
    by_profile = bool(context.profile or settings.profile)
    chosen = by_profile or bool(context.plugins or settings.plugins)
    told = bool(bootstrap or settings.node.bootstrap)
    ports: Collection[str] = ("transport", "discovery")
    without: frozenset[str] = frozenset()
    while True:
        try:
            return run_with_ports(
                context,
                ports,
                partial(_look, topic, seconds, told, nobody_is_fine),
                bootstrap=bootstrap,
                preferred=() if by_profile else _BY_EITHER,
                without=without,
                ephemeral=True,
            )
        except PlasmError as error:
            driver = getattr(error, "driver", "")
            # A way that does not work on this machine must not keep from the other one.
            if chosen or without or driver not in _DRIVERS_OF:
                raise
            _LOG.warning("%s", error)
            without = _DRIVERS_OF[driver]
            if "discovery:mdns" not in without:
                ports = ("discovery",)


async def _look(
    topic: BootTopic, seconds: float, told: bool, nobody_is_fine: bool, opened: Opened, plan: Planned
) -> list[Answered]:
    transports = [transport for _, transport in opened.transports]
    discoveries = [discovery for _, discovery in opened.discoveries]
    answered = await answering(transports, discoveries, topic, allows=plan.allows, seconds=seconds)
    if not (answered or nobody_is_fine):
        joining = {name: each.sources() for name, each in opened.discoveries if isinstance(each, Bootstrapped)}
        places = (f"{name} ({', '.join(joining[name])})" if name in joining else name for name, _ in opened.discoveries)
        fail(
            f"no provider of {topic.channel} for {topic.arch} answered within {seconds:g} s;"
            f" looked by {' and '.join(places) or 'nothing at all'}",
            f"{'' if told or not joining else '-b ADDR names a way into the network; '}"
            "is plasm serve running somewhere? -t waits longer",
            NO,
        )
    return answered


async def answering(
    transports: Sequence[Transport],
    discoveries: Sequence[Discovery],
    topic: BootTopic,
    *,
    allows: AddressFilter,
    seconds: float,
    bounds: RankBounds | None = None,
) -> list[Answered]:
    """The providers of `topic` whose manifest can be read, the fastest first; empty where none could in `seconds`."""
    bounds = bounds or RankBounds()
    answered: list[Answered] = []
    first = anyio.Event()
    places = anyio.Semaphore(bounds.places)
    limiter = anyio.CapacityLimiter(bounds.most_asked)
    send, receive = anyio.create_memory_object_stream[ProviderFound]()

    async def measure(provider: ProviderFound) -> None:
        with _place(places) as give_up_place:
            async with anyio.create_task_group() as own:
                own.start_soon(_after, bounds.place_seconds, give_up_place)
                await answer(provider)
                own.cancel_scope.cancel()

    async def answer(provider: ProviderFound) -> None:
        url = manifest_url(provider.base_url, topic.channel, topic.arch)
        try:
            answer = await anyio.to_thread.run_sync(
                partial(ask, url, MANIFEST_BYTES, allows), abandon_on_cancel=True, limiter=limiter
            )
        except FetchError as error:
            _LOG.debug("%s is passed over: %s", provider.base_url, error)
        else:
            if len(answered) < MOST_ANSWERS:
                answered.append(Answered(provider, url, answer.seconds))
                first.set()

    with anyio.move_on_after(seconds):
        async with send, receive, anyio.create_task_group() as tasks:

            async def measure_all() -> None:
                while True:
                    await places.acquire()
                    tasks.start_soon(measure, await receive.receive())

            tasks.start_soon(partial(find_providers, transports, discoveries, topic, send, allows=allows))
            tasks.start_soon(measure_all)
            await first.wait()
            await anyio.sleep(bounds.rank_seconds)
            tasks.cancel_scope.cancel()
    return sorted(answered, key=lambda each: each.seconds)


@contextmanager
def _place(places: anyio.Semaphore) -> Iterator[Callable[[], None]]:
    """Gives the place up at the end of the block, or before by what it is entered as."""
    held = True

    def give_up() -> None:
        nonlocal held
        if held:
            held = False
            places.release()

    try:
        yield give_up
    finally:
        give_up()


async def _after(seconds: float, action: Callable[[], None]) -> None:
    await anyio.sleep(seconds)
    action()
