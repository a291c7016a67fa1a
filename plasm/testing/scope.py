"""A scope to open a driver in, outside any node."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plasm.drivers import AddressFilter, Scope


def loopback_only(ip: str) -> bool:
    """Allows 127.0.0.0/8 and ::1."""
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False


def any_address(ip: str) -> bool:
    """Allows whatever parses as an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        return False
    return True


def make_scope(
    *,
    home: Path | None = None,
    listen: Sequence[str] = (),
    bootstrap: Sequence[str] = (),
    allows: AddressFilter = loopback_only,
    provided: Mapping[type[Any], object] | None = None,
    log: logging.Logger | None = None,
) -> Scope:
    """A scope in which only loopback is allowed and nothing may be written, unless told otherwise.

    `home` is created 0700. `provided` maps a port to the object that :meth:`Scope.require` gives for it.
    """
    if home is not None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = dict(provided or {})

    def provide(port: type[Any]) -> Any:
        if port not in there:
            raise LookupError(f"this scope provides no {port.__name__}")
        return there[port]

    return Scope(
        home=home,
        allows=allows,
        log=log or logging.getLogger("plasm.testing"),
        listen=tuple(listen),
        bootstrap=tuple(bootstrap),
        provided=provide,
    )
