"""Finds installed plugins and collects what they offer.

Each plugin is imported and asked on its own, with a plugin manager of its own: pluggy loses every answer of a hook when
one implementation raises, skips a name that is registered twice, and drops ``None`` in silence.
"""

from __future__ import annotations

import inspect
import re
import traceback as tracebacks
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import metadata
from typing import Any, Final

import msgspec
import pluggy

from plasm import __version__, hookspecs
from plasm.distributions import BRINGS, install, install_anew, upgrade
from plasm.drivers import PLUGIN_API, Driver, Options, ProfileFile, Service
from plasm.errors import PlanError, one_line

GROUP: Final = "plasm"
"""The entry-point group of plugins."""

PORTS: Final = ("signer", "store", "transport", "discovery", "runtime", "service")
"""The five ports and the services, in the order in which they are opened."""

BACKENDS: Final = ("trio", "asyncio")
"""The event loops that drivers may run on, the preferred one first."""

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""What drivers, services and profiles may be called."""

_HOOKS: Final[Mapping[str, tuple[str, type[Any]]]] = {
    "plasm_signers": ("signer", Driver),
    "plasm_stores": ("store", Driver),
    "plasm_transports": ("transport", Driver),
    "plasm_discoveries": ("discovery", Driver),
    "plasm_runtimes": ("runtime", Driver),
    "plasm_services": ("service", Service),
    "plasm_profiles": ("profile", ProfileFile),
}

Offer = Driver[Any] | Service


@dataclass(frozen=True)
class Registered:
    """A driver or service under its port, and the distribution that it came with."""

    port: str
    driver: Offer
    distribution: str
    version: str

    @property
    def name(self) -> str:
        return self.driver.name

    @property
    def qualified(self) -> str:
        """``port:name``."""
        return f"{self.port}:{self.driver.name}"


@dataclass(frozen=True)
class Broken:
    """A plugin that cannot be used, or a name that more than one plugin claims."""

    distribution: str
    version: str
    entry_point: str
    reason: str
    mend: str
    traceback: str
    names: frozenset[tuple[str, str]] = frozenset()
    """The (port, name) pairs that it offers, as far as it could be asked; profiles as ``("profile", name)``."""
    exactly: bool = False
    """Whether `names` are all that is affected, as with a duplicate."""

    @property
    def line(self) -> str:
        """What is wrong and with whom, in one line without the mend."""
        return f"{self.distribution} {self.version} is broken: {self.reason}"

    def error(self, message: str) -> PlanError:
        """`message`, with what mends this plugin and, for a traceback, where it broke."""
        error = PlanError(f"{message}: {self.line}", self.mend)
        if self.traceback:
            error.add_note(self.traceback)
        return error

    def offers(self, port: str | None, name: str) -> bool:
        """Whether `name` is, or would most likely be, one of its drivers."""
        if any(name == own and port in (None, own_port) for own_port, own in self.names):
            return True
        likely = (self.entry_point, self.distribution.removeprefix("plasm-"))
        return not self.exactly and (BRINGS.get(name) == self.distribution or name in likely)


@dataclass(frozen=True)
class Registry:
    """What the installed plugins offer; a value, made anew by each :func:`load_registry`."""

    drivers: tuple[Registered, ...] = ()
    profiles: Mapping[str, ProfileFile] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()

    def find(self, port: str, name: str) -> Registered | None:
        """The driver `name` of `port`."""
        return next((each for each in self.drivers if each.port == port and each.name == name), None)

    def named(self, name: str) -> tuple[Registered, ...]:
        """The drivers called `name`, on whatever port."""
        return tuple(each for each in self.drivers if each.name == name)

    def names(self, port: str | None = None) -> tuple[str, ...]:
        """The names that can be selected on `port`, or on all ports, sorted."""
        return tuple(sorted({each.name for each in self.drivers if port in (None, each.port)}))

    def breakage(self, port: str | None, name: str) -> Broken | None:
        """What keeps `name` from being used: its plugin's failure, or a duplicate. ``None`` where nothing is known."""
        return next((each for each in self.broken if each.offers(port, name)), None)

    def provider_hint(self, name: str) -> str:
        """What would make `name` available: a distribution, a plugin that may offer it, a name that was perhaps meant.

        Empty where nothing is known.
        """
        if name in BRINGS:
            return install(BRINGS[name])
        close = get_close_matches(name, [*self.names(), *self.profiles], n=1)
        hints = [f"did you mean {close[0]}?"] if close else []
        return "; ".join([*hints, *self.suspects()])

    def suspects(self) -> tuple[str, ...]:
        """The broken plugins that may offer what is missed, each with what is wrong and what mends it."""
        return tuple(f"{each.line}, and perhaps offers it; {each.mend}" for each in self.broken if not each.exactly)


class _Refused(Exception):
    """The plugin breaks the contract; the message is the reason, `mend` what its user can do."""

    def __init__(self, reason: str, mend: str = "") -> None:
        super().__init__(reason)
        self.mend = mend


@dataclass
class _Plugin:
    """One entry point, and what could be learnt from it."""

    entry_point: metadata.EntryPoint
    distribution: str
    version: str
    offers: list[tuple[str, Any]] = field(default_factory=list)

    def broken(self, reason: str, mend: str, traceback: str = "") -> Broken:
        names = frozenset((port, offer.name) for port, offer in self.offers)
        return Broken(
            self.distribution, self.version, self.entry_point.name, one_line(reason), one_line(mend), traceback, names
        )


def load_registry(distributions: Iterable[metadata.Distribution] | None = None) -> Registry:
    """Import every plugin of `distributions` (all installed ones), each in isolation, and collect what they offer.

    Never raises for what a plugin does: one that cannot be imported, raises, answers wrongly, misspells a hook, was
    written for a newer Plasm or claims a name that another one has is recorded in :attr:`Registry.broken`.
    """
    found: list[_Plugin] = []
    broken: list[Broken] = []
    for plugin in _plugins(metadata.distributions() if distributions is None else distributions):
        try:
            _ask(plugin)
        except _Refused as refusal:
            broken.append(
                plugin.broken(
                    str(refusal), refusal.mend or upgrade(plugin.distribution, plugin.version), tracebacks.format_exc()
                )
            )
        # A plugin that calls sys.exit() while it is imported must not end the program either.
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            broken.append(plugin.broken(reason, _mend_of(plugin, error), tracebacks.format_exc()))
        else:
            found.append(plugin)
    return _without_duplicates(found, broken)


def _plugins(distributions: Iterable[metadata.Distribution]) -> Iterator[_Plugin]:
    """The plugins, in the order of their distributions' names; of two copies of a distribution the first one counts."""
    by_name: dict[str, list[_Plugin]] = {}
    for distribution in distributions:
        try:
            entry_points = [each for each in distribution.entry_points if each.group == GROUP]
        except (OSError, ValueError):
            continue
        if entry_points and (name := distribution.name or "?") not in by_name:
            by_name[name] = [_Plugin(each, name, distribution.version or "?") for each in entry_points]
    for name in sorted(by_name):
        yield from by_name[name]


def _ask(plugin: _Plugin) -> None:
    """Fill ``plugin.offers``. Whatever goes wrong is raised at the end, so that the other offers are known by name."""
    module = plugin.entry_point.load()
    _check_api(module)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, name=plugin.entry_point.name)
    except pluggy.PluginValidationError as error:
        raise _Refused(f"a hook has arguments that it is not called with: {error}") from error
    failure: Exception | SystemExit | None = None
    for hook, (port, kind) in _HOOKS.items():
        try:
            plugin.offers += [(port, offer) for offer in _call(manager, module, hook, kind)]
        except (Exception, SystemExit) as error:
            failure = failure or error
    if failure is not None:
        raise failure
    _check_spelling(manager)


def _check_api(module: object) -> None:
    stated = getattr(module, "PLASM_API", PLUGIN_API)
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        raise _Refused(f"PLASM_API is {stated!r}, where a number such as {PLUGIN_API} is expected")
    if stated > PLUGIN_API:
        raise _Refused(
            f"it was written for version {stated} of Plasm's plugin interface, and this Plasm has {PLUGIN_API}",
            upgrade("plasm", __version__),
        )


def _call(manager: pluggy.PluginManager, module: object, hook: str, kind: type[Any]) -> Iterator[Any]:
    caller = getattr(manager.hook, hook)
    if not caller.get_hookimpls():
        if inspect.isfunction(getattr(module, hook, None)):
            raise _Refused(f"{hook} is not marked with @hookimpl")
        return
    answers = caller()
    if len(answers) != 1:
        raise _Refused(f"{hook} returned None, where a tuple of {kind.__name__} is expected")
    if not isinstance(answers[0], (tuple, list)):
        raise _Refused(f"{hook} returned {type(answers[0]).__name__}, where a tuple of {kind.__name__} is expected")
    for offer in answers[0]:
        if type(offer) is not kind:
            raise _Refused(f"{hook} offers {type(offer).__name__}, where {kind.__name__} is expected")
        _check_offer(offer)
        yield offer


def _check_spelling(manager: pluggy.PluginManager) -> None:
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        known = set(_HOOKS)
        unknown = sorted(name for name in vars(manager.hook) if name not in known and not name.startswith("_"))
        close = get_close_matches(unknown[0], known, n=1) if unknown else []
        meant = f"; perhaps {close[0]} is meant" if close else ""
        raise _Refused(f"there is no hook {', '.join(unknown) or error}{meant}") from error


def _check_offer(offer: Offer | ProfileFile) -> None:
    if not isinstance(offer.name, str) or not NAME.fullmatch(offer.name):
        raise _Refused(f"{offer.name!r} is no name: lower-case letters, digits, - and _")
    if isinstance(offer, ProfileFile):
        return
    expectations: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        ("open", callable, "a callable"),
        ("needs", _is_needs, "a frozenset of 'port' or 'port:name'"),
        ("offers", _is_words, "a frozenset of words"),
        ("backends", _is_backends, f"a frozenset with {' or '.join(BACKENDS)}"),
        ("options", _is_options, "a subclass of plasm.drivers.Options whose fields all have defaults"),
        ("check", lambda value: value is None or callable(value), "a callable or None"),
        ("summary", lambda value: isinstance(value, str), "a text"),
    )
    for name, fits, expected in expectations:
        if not fits(getattr(offer, name)):
            raise _Refused(f"{offer.name}: {name} is not {expected}")


def _is_words(value: object) -> bool:
    return isinstance(value, frozenset) and all(isinstance(word, str) for word in value)


def _is_needs(value: object) -> bool:
    if not isinstance(value, frozenset):
        return False
    parts = [need.partition(":") if isinstance(need, str) else ("", "", "") for need in value]
    return all(port in PORTS and (NAME.fullmatch(name) is not None if colon else True) for port, colon, name in parts)


def _is_backends(value: object) -> bool:
    return isinstance(value, frozenset) and bool(value) and value <= set(BACKENDS)


def _is_options(value: object) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, Options)
        and not any(each.required for each in msgspec.structs.fields(value))
    )


def _without_duplicates(found: list[_Plugin], broken: list[Broken]) -> Registry:
    claims: dict[tuple[str, str], list[tuple[_Plugin, Any]]] = defaultdict(list)
    for plugin in found:
        for port, offer in plugin.offers:
            claims[port, offer.name].append((plugin, offer))
    drivers: list[Registered] = []
    profiles: dict[str, ProfileFile] = {}
    for (port, name), claimants in claims.items():
        plugin, offer = claimants[0]
        if len(claimants) > 1:
            broken += _duplicate(port, name, [each for each, _ in claimants])
        elif port == "profile":
            profiles[name] = offer
        else:
            drivers.append(Registered(port, offer, plugin.distribution, plugin.version))
    drivers.sort(key=lambda each: (PORTS.index(each.port), each.name))
    return Registry(tuple(drivers), dict(sorted(profiles.items())), tuple(broken))


def _duplicate(port: str, name: str, claimants: list[_Plugin]) -> Iterator[Broken]:
    distributions = list(dict.fromkeys(f"{each.distribution} {each.version}" for each in claimants))
    if len(distributions) > 1:
        reason = f"{port}:{name} is offered by {' and by '.join(distributions)}"
        mend = "uninstall one of them: " + " or ".join(
            f"pip uninstall {each.split(' ')[0]}" for each in reversed(distributions)
        )
    else:
        reason = f"{port}:{name} is offered twice by {distributions[0]}"
        mend = upgrade(claimants[0].distribution, claimants[0].version)
    for plugin in {each.distribution: each for each in claimants}.values():
        names = frozenset({(port, name)})
        yield Broken(
            plugin.distribution, plugin.version, plugin.entry_point.name, reason, mend, "", names, exactly=True
        )


def _mend_of(plugin: _Plugin, error: BaseException) -> str:
    mend = install_anew if isinstance(error, ImportError) else upgrade
    return mend(plugin.distribution, plugin.version)
