"""``plasm repo renew``: sign anew what expires."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from plasm.commands import context_of, fail
from plasm_trust.cli.ceremony import Outcome, sign_and_publish
from plasm_trust.cli.options import check_roles, folder_option, json_option, no_published, now, tell
from plasm_trust.repository import Repository


@click.command("renew")
@click.argument("roles", nargs=-1, metavar="[ROLE]...")
@click.option("--key", "keys", multiple=True, metavar="URI", help="A key that only this machine knows; repeatable.")
@folder_option
@json_option
@click.pass_context
def command(
    context: click.Context, *, roles: tuple[str, ...], keys: tuple[str, ...], folder: Path, as_json: bool
) -> None:
    """Sign the timestamp anew, and the snapshot where it is time, with the online keys.

    ROLE is root, targets or a channel: it gets a new version that holds longer, to be signed as by plasm repo sign.
    """
    own = context_of(context)

    async def run() -> Outcome:
        with Repository.open(folder, now()) as repository:
            if repository.published is None:
                no_published(folder)
            check_roles(repository, roles)
            repository.stage(renewed=roles)
            return await sign_and_publish(repository, own, keys=keys, roles=roles, always=True)

    outcome = anyio.run(run)
    tell(outcome.document(), outcome.text(), as_json)
    if outcome.published is None and not roles:
        fail(f"nothing was renewed: {outcome.hindrance}", "do it where the online keys are")
