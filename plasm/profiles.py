"""Profiles: named selections of drivers with their options and bans, shipped by plugins as TOML.

The format is strict, since a misread ban would be one that does not hold::

    name = "private"
    bans = ["writes-disk"]
    addresses = "any"

    [drivers]
    signer = ["ephemeral"]

    [options.transport.libp2p]
    key = "value"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from plasm.errors import PlanError
from plasm.files import text_of
from plasm.registry import NAME, PORTS, Registry

DEFAULT: Final = "internet"
"""The profile where none is named."""

WRITES_DISK: Final = "writes-disk"
"""The ban that holds for the core too: journal and caches live in memory."""

_LARGEST_FILE = 64 * 1024


@dataclass(frozen=True)
class Profile:
    """A named selection of drivers."""

    name: str
    drivers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names by port, in order of preference."""
    options: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """By port and driver."""
    bans: frozenset[str] = frozenset()
    """Words that no selected driver may stand for in its ``offers``."""
    addresses: Literal["any", "local"] = "any"
    """Which IP addresses drivers may dial, advertise and listen on."""

    @property
    def writes(self) -> bool:
        """Whether anything may be written to disk."""
        return WRITES_DISK not in self.bans


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    drivers: dict[str, tuple[str, ...]]
    bans: tuple[str, ...] = ()
    addresses: Literal["any", "local"] = "any"
    options: dict[str, dict[str, dict[str, Any]]] = {}


def load_profile(registry: Registry, name: str) -> Profile:
    """The profile `name` of an installed plugin, checked. Raises :exc:`PlanError`, which lists the known ones."""
    shipped = registry.profiles.get(name)
    if shipped is None:
        if (broken := registry.breakage("profile", name)) is not None:
            raise broken.error(f"the profile {name} cannot be used")
        known = ", ".join(sorted(registry.profiles)) or "none is"
        raise PlanError(f"no profile {name!r} is installed (installed: {known})", registry.provider_hint(name))
    try:
        with resources.files(shipped.package).joinpath(shipped.resource).open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
        if len(raw) > _LARGEST_FILE:
            raise ValueError("larger than 64 KiB")
        return read_profile(text_of(raw), name)
    except (OSError, ImportError, ValueError) as error:
        message = f"the profile {name} ({shipped.package}: {shipped.resource}) cannot be read: {error}"
        raise PlanError(message, "reinstall or upgrade the distribution that ships it") from error


def read_profile(text: str, name: str) -> Profile:
    """The profile that `text` (TOML) describes, which must be called `name`. Raises :exc:`ValueError`."""
    file = msgspec.convert(tomllib.loads(text), _File, strict=True)
    if file.name != name:
        raise ValueError(f"it is called {file.name!r}")
    for port in (*file.drivers, *file.options):
        if port not in PORTS:
            raise ValueError(f"{port!r} is no port; the ports are {', '.join(PORTS)}")
    for names in (*file.drivers.values(), *file.options.values()):
        for driver in names:
            if not NAME.fullmatch(driver):
                raise ValueError(f"{driver!r} is no driver's name")
    return Profile(
        name=name,
        drivers=MappingProxyType(file.drivers),
        options=MappingProxyType(file.options),
        bans=frozenset(file.bans),
        addresses=file.addresses,
    )
