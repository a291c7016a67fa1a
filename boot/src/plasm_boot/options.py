"""Options that the programs share, and those of Plasm that mean the same here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from plasm.commands import context_of
from plasm.identity import InvalidIdentity, peer_of_address

Command = TypeVar("Command", bound=Callable[..., Any])

HELP: Final = {"help_option_names": ["-h", "--help"]}
_LONGEST_ADDRESS = 512
_LONGEST_PLUGIN_LIST = 4096
_LONGEST_SECONDS = 10_000_000


def plasm_options(command: Command) -> Command:
    """Adds ``--home``, ``--profile``, ``--plugins``, ``--config`` and ``-v``, which go into the command's context."""
    for option in (
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_set_verbose,
            help="Tracebacks and a debug log on stderr.",
        ),
        _stored(
            "--config",
            "config_path",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Read this configuration of Plasm instead of the home's config.toml.",
        ),
        _stored(
            "--plugins",
            "plugins",
            envvar="PLASM_PLUGINS",
            convert=_names,
            metavar="A,B",
            help="Drivers to use, by name or as port:name.",
        ),
        _stored(
            "--profile",
            "profile",
            metavar="NAME",
            help="internet, local (this network alone), private (nothing is written), or a plugin's own.",
        ),
        _stored(
            "--home",
            "home_path",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Where roots of trust are pinned; else PLASM_HOME, else the platform's folder.",
        ),
    ):
        command = option(command)
    return command


def _stored(
    flag: str, attribute: str, convert: Callable[[Any], Any] = lambda value: value, **settings: Any
) -> Callable[[Command], Command]:
    def store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context_of(context), attribute, convert(value))

    return click.option(flag, attribute, expose_value=False, callback=store, **settings)


def _names(text: str) -> tuple[str, ...]:
    if len(text) > _LONGEST_PLUGIN_LIST:
        raise click.BadParameter(f"longer than {_LONGEST_PLUGIN_LIST} characters")
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _set_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context_of(context).verbose = value
    if value:
        logging.getLogger("plasm").setLevel(logging.DEBUG)


def channel_option(command: Command) -> Command:
    """Adds ``-c/--channel``."""
    return click.option(
        "-c", "--channel", default="stable", show_default=True, callback=_channel, metavar="NAME", help="The channel."
    )(command)


def arch_option(*flags: str) -> Callable[[Command], Command]:
    """Adds ``--arch`` under `flags`."""
    return click.option(
        *flags,
        default="x86_64",
        show_default=True,
        callback=_arch,
        metavar="NAME",
        help="The architecture: x86_64, or arm64 (aarch64).",
    )


def bootstrap_option(command: Command) -> Command:
    """Adds ``-b/--bootstrap``."""
    return click.option(
        "-b",
        "--bootstrap",
        multiple=True,
        callback=_peer_addresses,
        metavar="ADDR",
        help="A way into the DHT, such as /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…; repeatable.",
    )(command)


def timeout_option(text: str) -> Callable[[Command], Command]:
    """Adds ``-t/--timeout`` with that help."""
    return click.option(
        "-t", "--timeout", default=30.0, show_default=True, callback=_seconds, metavar="SECONDS", help=text
    )


def _channel(context: click.Context, parameter: click.Parameter, value: str) -> str:
    from plasm_trust.layout import BadName, channel_name

    try:
        return channel_name(value)
    except BadName as error:
        raise click.BadParameter(str(error)) from None


def _arch(context: click.Context, parameter: click.Parameter, value: str) -> str:
    from plasm_trust.layout import BadName, arch_name

    try:
        return arch_name(value)
    except BadName as error:
        raise click.BadParameter(str(error)) from None


def _peer_addresses(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for text in values:
        try:
            peer_of_address(text[: _LONGEST_ADDRESS + 1])
        except InvalidIdentity as error:
            raise click.BadParameter(f"{text[:80]!a}: {error}; plasm start prints such an address") from None
    return values


def _seconds(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not 0 < value <= _LONGEST_SECONDS:
        raise click.BadParameter(f"{value:g} is not a number of seconds above 0")
    return value
