"""``plasm version``."""

from __future__ import annotations

import click

from plasm.cli import version_text


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Print the version."""
    click.echo(version_text(as_json))
