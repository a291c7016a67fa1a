"""Opens a plan: its drivers in order on one exit stack, closed in reverse."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import anyio.to_thread

from plasm.distributions import install_anew, upgrade
from plasm.drivers import DriverUnavailable, Scope
from plasm.errors import PlasmError, leaves
from plasm.identity import peer_id
from plasm.passphrases import ask_on_terminal
from plasm.plan import Plan, Selected
from plasm.ports import Discovery, PeerId, PortError, Runtime, Signer, Store, Transport

_PROTOCOLS: Final[Mapping[type[Any], str]] = {
    Signer: "signer",
    Store: "store",
    Transport: "transport",
    Discovery: "discovery",
    Runtime: "runtime",
}

_DIALS: Final = frozenset({"transport", "discovery", "service"})
"""The ports whose drivers are told addresses."""


class OpenFailed(PlasmError):
    """A driver of the plan could not be opened; everything that was open is closed again."""

    def __init__(self, driver: str, distribution: str, reason: str, mend: str) -> None:
        super().__init__(f"{driver} ({distribution}) cannot be opened: {reason}", mend)
        self.driver = driver
        self.distribution = distribution
        self.reason = reason


@dataclass(frozen=True)
class OpenPorts:
    """The objects of an open plan, by port in order of preference, with their drivers' names."""

    objects: Mapping[str, tuple[tuple[str, Any], ...]]

    @property
    def signer(self) -> Signer:
        """The node's identity. Raises :exc:`LookupError` where the plan has none."""
        if not (signers := self.objects.get("signer")):
            raise LookupError("the plan has no signer")
        return cast(Signer, signers[0][1])

    @property
    def peer(self) -> PeerId:
        """The peer ID of :attr:`signer`."""
        return peer_id(self.signer.public_key)

    @property
    def stores(self) -> tuple[tuple[str, Store], ...]:
        return self.objects.get("store", ())

    @property
    def transports(self) -> tuple[tuple[str, Transport], ...]:
        return self.objects.get("transport", ())

    @property
    def discoveries(self) -> tuple[tuple[str, Discovery], ...]:
        return self.objects.get("discovery", ())

    @property
    def runtimes(self) -> tuple[tuple[str, Runtime], ...]:
        return self.objects.get("runtime", ())

    @property
    def services(self) -> tuple[tuple[str, object], ...]:
        return self.objects.get("service", ())


@asynccontextmanager
async def open_plan(
    plan: Plan, *, listen: Sequence[str] = (), bootstrap: Sequence[str] = ()
) -> AsyncIterator[OpenPorts]:
    """Open the plan's drivers in order; leaving the block closes them in reverse, each within its own deadline.

    `listen` and `bootstrap` (multiaddrs) go to transports, discoveries and services. What the block raises comes out as
    it is, without the exception groups of the drivers' task groups around it. Raises :exc:`OpenFailed`, or
    :exc:`plasm.home.HomeError`.
    """
    opened: list[tuple[Selected, Any]] = []
    failure: PlasmError | None = None
    raised: Exception | None = None
    try:
        async with AsyncExitStack() as stack:
            for selected in plan.selected:
                try:
                    scope = await _scope(plan, selected, opened, listen, bootstrap)
                    manager = selected.registered.driver.open(scope, selected.options)
                    opened.append((selected, await stack.enter_async_context(manager)))
                except PlasmError as error:
                    failure = error
                except Exception as error:
                    failure = _open_failed(selected, error)
                if failure is not None:
                    # Not raised here: the drivers that are open would wrap it into their exception groups.
                    break
            else:
                try:
                    yield OpenPorts(_by_port(opened))
                except Exception as error:
                    raised = error
                    raise
    except ExceptionGroup as group:
        if failure is None and (raised is None or [*leaves(group)] != [raised]):
            raise
    except Exception as closing:
        if failure is None:
            raise
        failure.add_note(f"and while closing what was open: {closing!r}")
    if failure is not None:
        raise failure
    if raised is not None:
        raise raised


async def _scope(
    plan: Plan,
    selected: Selected,
    opened: Sequence[tuple[Selected, Any]],
    listen: Sequence[str],
    bootstrap: Sequence[str],
) -> Scope:
    registered = selected.registered
    dials = registered.port in _DIALS
    provider = _Provider(registered.driver.needs | registered.driver.after, tuple(opened))
    return Scope(
        home=await anyio.to_thread.run_sync(plan.home.folder, _folder_name(registered.port, registered.name)),
        allows=plan.allows,
        log=logging.getLogger(f"plasm.{registered.port}.{registered.name}"),
        listen=tuple(listen) if dials else (),
        bootstrap=tuple(bootstrap) if dials else (),
        provided=provider.first,
        every=provider.every,
        ask=ask_on_terminal if registered.port == "signer" else None,
    )


def _folder_name(port: str, name: str) -> str:
    match port, name:
        case "signer", _:
            return "keys"
        case "runtime", _:
            return f"cache/{name}"
        case _:
            return f"{port}/{name}"


class _Provider:
    """What :class:`Scope` asks: the objects of the declared needs, by port or by a class of their own."""

    def __init__(self, needs: frozenset[str], opened: Sequence[tuple[Selected, Any]]) -> None:
        self._declared = [
            (selected, thing)
            for selected, thing in opened
            if not needs.isdisjoint({selected.registered.port, selected.registered.qualified})
        ]
        self._declared.sort(key=lambda pair: (pair[0].registered.qualified not in needs, pair[0].rank))

    def every(self, wanted: type[Any]) -> tuple[Any, ...]:
        port = _PROTOCOLS.get(wanted)
        return tuple(
            thing
            for selected, thing in self._declared
            if (selected.registered.port == port if port is not None else _is_a(thing, wanted))
        )

    def first(self, wanted: type[Any]) -> Any:
        for thing in self.every(wanted):
            return thing
        raise LookupError(f"{wanted.__name__} does not stand in the driver's needs, or is not open")


def _is_a(thing: object, wanted: type[Any]) -> bool:
    try:
        return isinstance(thing, wanted)
    except TypeError:  # a Protocol that cannot be checked at run time
        return False


def _by_port(opened: Sequence[tuple[Selected, Any]]) -> Mapping[str, tuple[tuple[str, Any], ...]]:
    ports: dict[str, list[tuple[int, str, Any]]] = {}
    for selected, thing in opened:
        registered = selected.registered
        ports.setdefault(registered.port, []).append((selected.rank, registered.name, thing))
    return {
        port: tuple((name, thing) for _, name, thing in sorted(things, key=lambda each: each[0]))
        for port, things in ports.items()
    }


def _open_failed(selected: Selected, error: Exception) -> OpenFailed:
    cause = next(leaves(error))
    registered = selected.registered
    distribution = f"{registered.distribution} {registered.version}"
    match cause:
        case DriverUnavailable():
            reason, mend = str(cause), cause.mend
        case PortError():
            reason, mend = str(cause), ""
        case ImportError():
            reason, mend = str(cause), install_anew(registered.distribution, registered.version)
        case _:
            reason = f"{type(cause).__name__}: {cause}"
            mend = f"-v shows where; {upgrade(registered.distribution, registered.version)}"
    failure = OpenFailed(registered.qualified, distribution, reason, mend)
    failure.__cause__ = error
    return failure
