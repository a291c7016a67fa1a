"""From a selection to a plan: everything that can be refused before any loop runs is refused here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from plasm.addresses import allow_any, allow_local
from plasm.config import Config, ConfigError, refuse_unknown_keys
from plasm.drivers import AddressFilter, Options
from plasm.errors import PlanError
from plasm.explaining import explain
from plasm.home import Home
from plasm.profiles import DEFAULT, Profile, load_profile
from plasm.registry import BACKENDS, NAME, PORTS, Registered, Registry

__all__ = ["Plan", "PlanError", "Selected", "make_plan"]

_LONGEST_SELECTION = 4096


@dataclass(frozen=True)
class Selected:
    """A driver or service that the plan opens."""

    registered: Registered
    options: Options
    rank: int
    """Its place in its port's order of preference, from 0."""


@dataclass(frozen=True)
class Plan:
    """A selection that has been checked and can be opened."""

    selected: tuple[Selected, ...]
    """In opening order."""
    backend: str
    """The event loop that all of them run on: ``trio`` or ``asyncio``."""
    profile: Profile
    allows: AddressFilter
    home: Home
    """Without a path where the profile lets nothing be written."""

    @property
    def writes(self) -> bool:
        """Whether anything may be written; where not, drivers get no folder and the core keeps everything in memory."""
        return self.home.path is not None


def make_plan(
    registry: Registry,
    *,
    ports: Collection[str],
    cli: Sequence[str] = (),
    environ: str | None = None,
    config: Config | None = None,
    profile: str | None = None,
    home: Home,
    services: Sequence[str] = (),
    preferred: Sequence[str] = (),
    without: Collection[str] = (),
) -> Plan:
    """Choose and check the drivers of `ports`, with what they need, and `services`.

    `cli` holds the names of ``--plugins``, `environ` the value of ``PLASM_PLUGINS``; a name is ``fs`` or ``store:fs``.
    Services named there are opened where `ports` has ``"service"``. `preferred` names drivers (``discovery:dht``) that
    the command would rather have than the profile's, as far as they are installed and not banned; drivers named in
    `without` are not opened, and a port that this leaves empty is not either.

    Raises :exc:`PlanError` or :exc:`ConfigError`.
    """
    config = config or Config()
    chosen = _profile(registry, profile or config.profile)
    selection = _Selection(registry, chosen)
    for names, source in (
        (cli, "--plugins"),
        ((environ or "",), "PLASM_PLUGINS"),
        (config.plugins, str(config.path or "the configuration")),
    ):
        selection.add(names, source)
    selection.add_preferred(preferred)
    selection.leave_out(without)
    selection.add_services(services)
    ordered = _in_opening_order(selection, ports, bool(services))
    options = _Options(registry, chosen, config)
    writable = home if chosen.writes else Home(None)
    return Plan(
        selected=tuple(Selected(each, options.of(each), selection.rank(each)) for each in ordered),
        backend=_common_backend(ordered),
        profile=chosen,
        allows=allow_local if chosen.addresses == "local" else allow_any,
        home=writable,
    )


def _profile(registry: Registry, name: str | None) -> Profile:
    if name is None and DEFAULT not in registry.profiles and registry.breakage("profile", DEFAULT) is None:
        return Profile(DEFAULT)
    return load_profile(registry, name or DEFAULT)


class _Selection:
    """What is selected for each port, by the first source that names any driver of it."""

    def __init__(self, registry: Registry, profile: Profile) -> None:
        self._registry = registry
        self._profile = profile
        self._by_port: dict[str, list[Registered]] = {}
        self._broken: dict[str, PlanError] = {}
        self._emptied: set[str] = set()

    def add(self, names: Sequence[str], source: str) -> None:
        """Take `names` (each perhaps several, with commas) for the ports that have no selection yet."""
        if sum(map(len, names)) > _LONGEST_SELECTION:
            raise PlanError(f"{source} is longer than {_LONGEST_SELECTION} characters")
        taken = set(self._by_port) | set(self._broken)
        for name in (part.strip() for text in names for part in text.split(",")):
            if not name:
                continue
            port, found = self._resolve(name, source)
            if isinstance(found, PlanError):
                if port not in taken:
                    self._broken.setdefault(port, found)
                continue
            if port in taken:
                continue
            self.refuse_banned(found, f"{source} asks for it")
            if found not in self._by_port.setdefault(port, []):
                self._by_port[port].append(found)

    def add_preferred(self, names: Sequence[str]) -> None:
        """Take those of `names` (``port:name``) that can be had, for the ports that have no selection yet."""
        taken = set(self._by_port) | set(self._broken)
        for qualified in names:
            port, _, name = qualified.partition(":")
            found = self._registry.find(port, name)
            if port not in taken and found is not None and not found.driver.offers & self._profile.bans:
                self._by_port.setdefault(port, []).append(found)

    def leave_out(self, names: Collection[str]) -> None:
        """Do not open the drivers `names` (``port:name``)."""
        for qualified in names:
            port, _, _ = qualified.partition(":")
            self._by_port[port] = [each for each in self.of(port) if each.qualified != qualified]
            self._emptied.add(port)

    def may_be_empty(self, port: str) -> bool:
        """Whether nothing of `port` needs to be open: a node may host no service, or what there was is left out."""
        return port == "service" or port in self._emptied

    def add_services(self, names: Sequence[str]) -> None:
        """Take services that a command always hosts."""
        present = self._by_port.setdefault("service", [])
        for name in names:
            service = self.require("service", name, "the command hosts it")
            if service not in present:
                present.append(service)

    def of(self, port: str) -> list[Registered]:
        """The drivers of `port` in order of preference. Raises :exc:`PlanError` where one of them cannot be used."""
        if port in self._broken:
            raise self._broken[port]
        if port not in self._by_port:
            reason = f"the profile {self._profile.name} selects it"
            self._by_port[port] = [
                self.require(port, name, reason) for name in dict.fromkeys(self._profile.drivers.get(port, ()))
            ]
        return self._by_port[port]

    def pull_in(self, port: str, name: str, dependent: Registered) -> Registered:
        """The driver `name`, added to its port's selection where it is missing."""
        driver = self.require(port, name, f"{dependent.name} needs it")
        present = self.of(port)
        if driver not in present:
            if port == "signer" and present:
                message = f"{dependent.name} needs signer:{name}, and signer:{present[0].name} is selected"
                raise PlanError(message, f"select signer:{name}")
            present.append(driver)
        return driver

    def candidates(self, port: str) -> str:
        """What to do where nothing is selected for `port`."""
        if names := self._registry.names(port):
            return f"name one with --plugins: {', '.join(names)}"
        install = f"install a plugin that offers one, then name it with --plugins {port}:NAME"
        return "; ".join([install, *self._registry.suspects()])

    def rank(self, registered: Registered) -> int:
        return self._by_port[registered.port].index(registered)

    def require(self, port: str, name: str, reason: str) -> Registered:
        """The installed driver `port`:`name`, not banned. `reason` says why it is wanted."""
        found = self._registry.find(port, name)
        if found is None:
            if (broken := self._registry.breakage(port, name)) is not None:
                raise broken.error(f"{port}:{name} cannot be used ({reason})")
            raise self._not_installed(port, name, reason)
        self.refuse_banned(found, reason)
        return found

    def refuse_banned(self, driver: Registered, reason: str) -> None:
        """Raises :exc:`PlanError` where the profile bans what `driver` stands for."""
        for word in sorted(driver.driver.offers & self._profile.bans):
            allowed = [
                each.qualified
                for each in self._registry.drivers
                if each.port == driver.port and not each.driver.offers & self._profile.bans
            ]
            instead = f"choose {' or '.join(allowed)}, or another profile" if allowed else "choose another profile"
            message = f"the profile {self._profile.name} bans {word}, which {driver.qualified} does ({reason})"
            raise PlanError(message, instead)

    def _resolve(self, text: str, source: str) -> tuple[str, Registered | PlanError]:
        port, colon, name = text.rpartition(":")
        if (colon and port not in PORTS) or not NAME.fullmatch(name):
            message = f"{source}: {text[:80]!r} is neither a driver's name nor port:name"
            raise PlanError(message, f"the ports are {', '.join(PORTS)}")
        candidates = [each for each in self._registry.named(name) if port in ("", each.port)]
        if len(candidates) > 1:
            raise PlanError(
                f"{source}: {name} is on more than one port",
                f"say which: {' or '.join(each.qualified for each in candidates)}",
            )
        broken = self._registry.breakage(port or None, name)
        if candidates:
            return candidates[0].port, candidates[0]
        if broken is None:
            raise self._not_installed(port, name, f"{source} asks for it")
        error = broken.error(f"{text} cannot be used")
        known_port = port or next((own_port for own_port, own in sorted(broken.names) if own == name), "")
        if not known_port:
            raise error
        return known_port, error

    def _not_installed(self, port: str, name: str, reason: str) -> PlanError:
        elsewhere = [each.qualified for each in self._registry.named(name)]
        mend = f"did you mean {' or '.join(elsewhere)}?" if elsewhere else self._registry.provider_hint(name)
        known = ", ".join(self._registry.names(port or None)) or "none"
        qualified = f"{port}:{name}" if port else name
        return PlanError(f"no driver {qualified} is installed ({reason}; installed: {known})", mend)


def _in_opening_order(selection: _Selection, ports: Collection[str], hosts: bool) -> list[Registered]:
    """The selected drivers of `ports` and all that they need, each after what it needs."""
    ordered: list[Registered] = []
    under_way: list[Registered] = []

    def visit(driver: Registered) -> None:
        if driver in ordered:
            return
        if driver in under_way:
            circle = " needs ".join(each.qualified for each in (*under_way[under_way.index(driver) :], driver))
            raise PlanError(f"these cannot be opened: {circle}", "leave one of them out")
        under_way.append(driver)
        # Sorted by opening order, so that a plan does not depend on how a set happens to be laid out.
        for need in sorted(driver.driver.needs, key=lambda need: (PORTS.index(need.partition(":")[0]), need)):
            port, colon, name = need.partition(":")
            if colon:
                visit(selection.pull_in(port, name, driver))
            else:
                visit_port(port, f"{driver.name} needs one")
        for port in PORTS:
            # Only from the top: where another needs this one, that need comes first.
            if port in driver.driver.after and port in ports and not under_way[:-1]:
                visit_port(port, "the command needs one")
        under_way.pop()
        ordered.append(driver)

    def visit_port(port: str, reason: str) -> None:
        drivers = selection.of(port)
        if not drivers and not selection.may_be_empty(port):
            raise PlanError(f"nothing is selected for the port {port} ({reason})", selection.candidates(port))
        if port == "signer" and len(drivers) > 1:
            names = ", ".join(each.name for each in drivers)
            raise PlanError(f"a node has exactly one signer, and {names} are selected", "name one of them")
        for driver in tuple(drivers):
            visit(driver)

    for port in PORTS:
        if port in ports or (port == "service" and hosts):
            visit_port(port, "the command needs one")
    if unknown := sorted(set(ports) - set(PORTS)):
        raise PlanError(f"{unknown[0]!r} is no port", f"the ports are {', '.join(PORTS)}")
    return ordered


def _common_backend(drivers: Sequence[Registered]) -> str:
    for backend in BACKENDS:
        if all(backend in each.driver.backends for each in drivers):
            return backend
    tied = [
        f"{next(each.name for each in drivers if each.driver.backends == {backend})} needs {backend}"
        for backend in BACKENDS
    ]
    raise PlanError(f"no event loop suits all: {', '.join(tied)}", "leave one of them out with --plugins")


class _Options:
    """Options of the drivers: the profile's, and over them the user's, key by key."""

    def __init__(self, registry: Registry, profile: Profile, config: Config) -> None:
        self._profile = profile
        self._config = config
        self._where = str(config.path or "the configuration")
        for port, tables in config.options.items():
            for name, table in tables.items():
                registered = registry.find(port, name)
                if registered is not None:
                    self._convert(registered, table, f"{self._where}: [{port}.{name}]")
                elif registry.breakage(port, name) is None:
                    refuse_unknown_keys({name: table}, registry.names(port), f"{self._where}: [{port}]")

    def of(self, driver: Registered) -> Options:
        shipped = self._profile.options.get(driver.port, {}).get(driver.name, {})
        own = self._config.options.get(driver.port, {}).get(driver.name, {})
        where = f"{self._where}: [{driver.port}.{driver.name}]" if own else f"the profile {self._profile.name}"
        return self._convert(driver, {**shipped, **own}, where)

    @staticmethod
    def _convert(driver: Registered, table: Mapping[str, Any], where: str) -> Options:
        kind = driver.driver.options
        refuse_unknown_keys(table, [each.encode_name for each in msgspec.structs.fields(kind)], where)
        try:
            return msgspec.convert(table, kind, strict=True)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where} {explain(error, kind)}") from error
