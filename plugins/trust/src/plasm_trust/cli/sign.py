"""``plasm repo sign``: sign what is staged, and publish what all have signed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import anyio
import click

from plasm.commands import context_of
from plasm_trust.changes import changes
from plasm_trust.cli.ceremony import Outcome, how_to_pin, sign_and_publish
from plasm_trust.cli.options import check_roles, folder_option, json_option, now, tell
from plasm_trust.repository import Repository


@click.command("sign")
@click.option("--key", "keys", multiple=True, metavar="URI", help="A key that only this machine knows; repeatable.")
@click.option("--role", "roles", multiple=True, metavar="NAME", help="Sign only this role; repeatable.")
@folder_option
@json_option
@click.pass_context
def command(
    context: click.Context, *, keys: tuple[str, ...], roles: tuple[str, ...], folder: Path, as_json: bool
) -> None:
    """Sign what is staged with the keys that open here, and publish it once enough keys have signed.

    What is missing is said, with the keys that may sign: copy the folder to whoever has one and let them do the same.
    """
    own = context_of(context)

    async def run() -> Outcome:
        with Repository.open(folder, now()) as repository:
            check_roles(repository, roles)
            repository.stage()
            # On stderr, and before any passphrase is asked for: nobody signs what they have not seen.
            for line in _shown(repository):
                click.echo(line, err=True)
            return await sign_and_publish(repository, own, keys=keys, roles=roles or None)

    outcome = anyio.run(run)
    text = outcome.text()
    if outcome.published is not None:
        text += f"\n{how_to_pin(folder.absolute(), outcome.published)}" if outcome.first else ""
    tell(outcome.document(), text, as_json)


def _shown(repository: Repository) -> list[str]:
    # All of it, and not only what changes: what is called published here came in the same folder.
    lines = changes(repository.staging, repository.current(), whole=True)
    if repository.published is None or not lines:
        return [*lines]
    return [f"root of trust, SHA-256: {hashlib.sha256(repository.published.first_root).hexdigest()}", *lines]
