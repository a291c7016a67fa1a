"""What several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from plasm.commands import fail
from plasm.exitcodes import USAGE
from plasm_trust import layout

if TYPE_CHECKING:
    from plasm_trust.repository import Repository

folder_option = click.option(
    "-r",
    "--repo",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    metavar="DIR",
    show_default=True,
    help="The repository.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def target(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A click callback: ``CHANNEL/ARCH/NAME``."""
    try:
        return str(layout.target_path(value))
    except layout.BadName as error:
        raise click.BadParameter(str(error)) from None


def channel_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A click callback: the name of a channel."""
    try:
        return layout.channel_name(value)
    except layout.BadName as error:
        raise click.BadParameter(str(error)) from None


def check_roles(repository: Repository, names: Iterable[str]) -> None:
    """End the command with wrong usage where one of `names` is no role that people sign."""
    known = ("root", "targets", *sorted(repository.settings.channels))
    for name in names:
        if name not in known:
            fail(f"{name[:80]!r} is none of {', '.join(known)}", code=USAGE)


def tell(document: dict[str, Any], text: str, as_json: bool) -> None:
    """Print `document` or `text`."""
    click.echo(json.dumps(document) if as_json else text)


def no_published(folder: Path) -> NoReturn:
    """End a command that needs a repository which has been published."""
    fail(f"nothing is published in {folder} yet", f"plasm repo sign -r {folder}")
