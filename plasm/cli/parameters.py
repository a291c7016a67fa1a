"""Options that several commands have: addresses and times, refused as wrong usage where they are none."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from plasm.identity import InvalidIdentity, peer_of_address

Command = TypeVar("Command", bound=Callable[..., Any])

EXAMPLE: Final = "/ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…"
"""What an address looks like, for help texts."""
_LONGEST = 512
_LONGEST_SECONDS: Final = 10_000_000
_SIZE: Final = re.compile(r"(\d{1,15})\s*([kmgt]?)(i?b)?", re.ASCII | re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_LARGEST_SIZE: Final = 2**53 - 1


def size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Bytes: a number with a unit of powers of 1024, such as ``64MB``, ``64MiB`` or ``64m``, or of bytes (``500B``).

    A number alone is MB, as for ``--memory``.
    """
    if value is None:
        return None
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"invalid size {value[:40]!a}: expected a number and a unit, such as 64MB or 2GB")
    number, prefix, byte = found.groups()
    count = int(number) * (_UNITS[prefix.lower()] if prefix or byte else _UNITS["m"])
    if count > _LARGEST_SIZE:
        raise click.BadParameter(f"invalid size {value[:40]!a}: expected at most {_LARGEST_SIZE} bytes")
    return count


def peer_addresses(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Multiaddrs that end in ``/p2p/PEER``."""
    for text in values:
        try:
            peer_of_address(text[: _LONGEST + 1])
        except InvalidIdentity as error:
            raise click.BadParameter(
                f"{text[:80]!a}: {error}; one is like {EXAMPLE}, and plasm start prints it whole"
            ) from None
    return values


def listen_addresses(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Multiaddrs to listen on."""
    for text in values:
        if not text.startswith("/") or len(text) > _LONGEST:
            raise click.BadParameter(f"{text[:80]!a} is not a multiaddr; write {_as_multiaddr(text)}")
    return values


def seconds(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """A time that can be waited: more than zero, and not without end."""
    if not 0 < value <= _LONGEST_SECONDS:
        raise click.BadParameter(f"{value:g} is not a number of seconds above 0")
    return value


def peer_option(text: str) -> Callable[[Command], Command]:
    """Adds ``--peer`` with that help; the command gets it as ``peers``."""
    return click.option(
        "--peer",
        "peers",
        multiple=True,
        callback=peer_addresses,
        metavar="ADDR",
        help=text,
    )


def its_node_option(command: Command) -> Command:
    """Adds ``--peer`` for a job that a node has already; the command gets it as ``peers``."""
    return peer_option("Where the job's node is now; repeatable.")(command)


def bootstrap_option(command: Command) -> Command:
    """Adds ``--bootstrap``; the command gets it as ``bootstrap``."""
    return click.option(
        "--bootstrap",
        "-b",
        multiple=True,
        callback=peer_addresses,
        metavar="ADDR",
        help="A way into the network; repeatable.",
    )(command)


def _as_multiaddr(text: str) -> str:
    """What was perhaps meant by ``HOST:PORT``."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or len(port) > 5:
        return "/ip4/0.0.0.0/tcp/4001"
    try:
        address = ipaddress.ip_address(host.strip("[]") or "0.0.0.0")  # noqa: S104
    except ValueError:
        return f"/ip4/0.0.0.0/tcp/{port}"
    return f"/ip{address.version}/{address}/tcp/{port}"
