"""``plasm repo channel``: add a channel, or give it other keys."""

from __future__ import annotations

from pathlib import Path

import anyio
import click
import msgspec

from plasm.commands import context_of
from plasm_trust.changes import changes
from plasm_trust.cli.opening import NamedKey, name_key
from plasm_trust.cli.options import channel_name, folder_option, json_option, now, tell
from plasm_trust.repository import Repository
from plasm_trust.settings import role_settings


@click.command("channel")
@click.argument("name", callback=channel_name, metavar="NAME")
@click.option("--key", "keys", multiple=True, required=True, metavar="KEY", help="Signs the channel; repeatable.")
@click.option("--threshold", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="How many must.")
@folder_option
@json_option
@click.pass_context
def command(
    context: click.Context, *, name: str, keys: tuple[str, ...], threshold: int, folder: Path, as_json: bool
) -> None:
    """Stage that these keys, and no others, sign the channel NAME, which is added where there is none.

    KEY is the URI of a key that exists, or the did:key of one that is on another machine.
    """
    own = context_of(context)

    async def run() -> list[NamedKey]:
        return [await name_key(key, own) for key in keys]

    named = anyio.run(run)
    with Repository.open(folder, now()) as repository:
        settings = repository.settings
        role = settings.channels.get(name, role_settings(name, ()))
        wanted = msgspec.structs.replace(role, keys=tuple(key.did for key in named), threshold=threshold)
        repository.configure(
            msgspec.structs.replace(
                settings,
                keys={**settings.keys, **{key.did: key.uri or settings.keys.get(key.did, "") for key in named}},
                channels={**settings.channels, name: wanted},
            )
        )
        staged = changes(repository.staging, repository.current())
    tell({"channel": name, "changes": list(staged)}, "\n".join([*staged, "plasm repo sign signs it"]), as_json)
