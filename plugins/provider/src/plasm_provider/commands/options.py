"""Options that several commands have."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final

import click

DEFAULT_P2P_PORT: Final = 4001
_LONGEST_URL: Final = 2048

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def ip_address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A click callback: an IPv4 or IPv6 address."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise click.BadParameter(f"{value[:80]!r} is no IP address") from None


def channel_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A click callback: the name of a channel."""
    from plasm_trust import layout

    try:
        return layout.channel_name(value)
    except layout.BadName as error:
        raise click.BadParameter(str(error)) from None


def arch_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    """A click callback: an architecture, or this machine's."""
    from plasm_trust import layout

    from plasm_provider.defaults import machine_arch

    try:
        return layout.arch_name(value) if value is not None else machine_arch()
    except layout.BadName as error:
        raise click.BadParameter(str(error)) from None


def base_urls(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """A click callback: URLs of providers."""
    from plasm_fetching.http import InvalidUrl, parse_url

    for value in values:
        try:
            parse_url(value)
        except InvalidUrl as error:
            raise click.BadParameter(str(error)) from None
    return values


_SERVING: Final[tuple[Decorator, ...]] = (
    click.option(
        "-c",
        "--channel",
        default="stable",
        show_default=True,
        callback=channel_name,
        metavar="NAME",
        help="The channel that /manifest.json leads to; all channels are served.",
    ),
    click.option(
        "-A",
        "--arch",
        callback=arch_name,
        metavar="ARCH",
        help="The architecture that /manifest.json leads to: x86_64 or arm64.  [default: this machine's]",
    ),
    click.option(
        "-p",
        "--port",
        type=click.IntRange(0, 65535),
        default=8080,
        show_default=True,
        help="The TCP port; 0 is any free one.",
    ),
    click.option(
        "-b",
        "--bind",
        default="0.0.0.0",  # noqa: S104 - it is there to be reached
        show_default=True,
        callback=ip_address,
        metavar="IP",
        help="The address to listen on; a wildcard is every interface.",
    ),
    click.option("--no-dht", is_flag=True, help="Do not announce on the DHT."),
    click.option("--no-mdns", is_flag=True, help="Do not announce on the local link."),
    click.option(
        "-l",
        "--listen",
        multiple=True,
        metavar="ADDR",
        help="A multiaddr for the DHT's part, such as /ip4/0.0.0.0/tcp/4001, which is the default; repeatable.",
    ),
    click.option("--peer", "peers", multiple=True, metavar="ADDR", help="A peer to join the DHT through; repeatable."),
    click.option("--json", "as_json", is_flag=True, help="Print one line of JSON in place of the ready lines."),
)


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that serve."""
    for option in reversed(_SERVING):
        command = option(command)
    return command


def p2p_addresses(listen: tuple[str, ...], bind: str) -> tuple[str, ...]:
    """The multiaddrs to listen on: those that were named, or one beside the HTTP server's."""
    if listen:
        return listen
    return (f"/{'ip6' if ':' in bind else 'ip4'}/{bind}/tcp/{DEFAULT_P2P_PORT}",)
