"""``plasm repo remove``: stage that an artifact is no more."""

from __future__ import annotations

from pathlib import Path

import click

from plasm_trust.cli.options import folder_option, json_option, now, target, tell
from plasm_trust.repository import Repository


@click.command("remove")
@click.argument("path", callback=target, metavar="CHANNEL/ARCH/NAME")
@folder_option
@json_option
def command(*, path: str, folder: Path, as_json: bool) -> None:
    """Stage that there is no such artifact any more, to be signed by the keys of its channel."""
    with Repository.open(folder, now()) as repository:
        repository.remove(path)
    tell({"removed": path}, f"staged: no {path} any more\nplasm repo sign signs it", as_json)
