"""What a plugin describes: drivers, their options, services, and the scope in which they are opened."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PLUGIN_API = 1
"""The version of all that a plugin sees. A ``hooks.py`` may state the one that it was written for as ``PLASM_API``."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Typed options of a driver; subclass it. Every field needs a default, and an unknown key is an error."""


class DriverUnavailable(Exception):
    """The driver cannot be opened on this machine.

    `mend` is a phrase that says what would help: ``"apt-get install libgmp-dev"``.
    """

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.mend = mend


class AddressFilter(Protocol):
    """Which IP addresses a profile lets drivers dial, advertise or listen on."""

    def __call__(self, ip: str) -> bool:
        """Whether `ip` (textual IPv4 or IPv6, no name) is allowed. False for what does not parse."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a driver gets when it is opened: what it declared in ``needs``, and no more."""

    home: Path | None
    """Where the driver may keep files, created 0700; ``None`` where nothing may be written."""
    allows: AddressFilter
    log: logging.Logger
    listen: tuple[str, ...] = ()
    """Multiaddrs to listen on; empty for a client that answers nobody."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs ending in ``/p2p/PEER`` of known peers."""
    provided: Callable[[type[Any]], Any] | None = None
    every: Callable[[type[Any]], Sequence[Any]] | None = None
    ask: Callable[[str], Awaitable[str]] | None = None
    """Asks a person for a passphrase or PIN and returns the answer; ``None`` where nobody can be asked."""

    def require(self, port: type[T]) -> T:
        """The object opened for `port`, which must stand in the driver's ``needs``.

        Raises :exc:`LookupError` where it was not declared or is not open.
        """
        if self.provided is None:
            raise LookupError(f"nothing is provided here; {port.__name__} must stand in the driver's needs")
        found: T = self.provided(port)
        return found

    def require_all(self, port: type[T]) -> Sequence[T]:
        """All that is open for `port`, the preferred first; empty where nothing is, or it was not declared."""
        if self.every is not None:
            return self.every(port)
        try:
            return (self.require(port),)
        except LookupError:
            return ()


@dataclass(frozen=True, kw_only=True)
class Driver(Generic[T_co]):
    """An implementation of a port under a name.

    `open` imports the library it stands on when it is called. `needs` names ports (``"signer"``) or drivers of a port
    (``"transport:libp2p"``) that must be open before it; `after` names ports that are open before it where they are
    open anyway, and its scope gives it those too. `offers` are the words that a profile may ban
    (``"writes-disk"``, ``"public-network"``, ``"lan"``). `check` is called by ``plasm plugins --check`` in place of
    opening: it raises :exc:`DriverUnavailable` or :exc:`ImportError` where opening would fail.
    """

    name: str
    open: Callable[[Scope, Any], AbstractAsyncContextManager[T_co]]
    needs: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    offers: frozenset[str] = frozenset()
    backends: frozenset[str] = frozenset({"asyncio", "trio"})
    options: type[Options] = Options
    check: Callable[[], None] | None = None
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class Service:
    """Something long-running that a node hosts beside its jobs; entered after the drivers, left before them."""

    name: str
    open: Callable[[Scope, Any], AbstractAsyncContextManager[object]]
    needs: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    offers: frozenset[str] = frozenset()
    backends: frozenset[str] = frozenset({"asyncio", "trio"})
    options: type[Options] = Options
    check: Callable[[], None] | None = None
    summary: str = ""


@dataclass(frozen=True)
class ProfileFile:
    """A profile that a distribution ships as TOML: `resource` inside the import package `package`."""

    name: str
    package: str
    resource: str
