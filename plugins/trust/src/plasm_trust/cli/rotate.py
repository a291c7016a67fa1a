"""``plasm repo rotate``: put a new key in the place of an old one, or revoke it."""

from __future__ import annotations

from pathlib import Path

import anyio
import click
import msgspec

from plasm.commands import context_of, fail
from plasm_trust.changes import changes
from plasm_trust.cli.opening import NamedKey, name_key
from plasm_trust.cli.options import folder_option, json_option, now, tell
from plasm_trust.keys import key_of_did
from plasm_trust.repository import Repository
from plasm_trust.settings import RoleSettings, Settings


@click.command("rotate")
@click.argument("key", metavar="KEY")
@click.option("--to", "successor", metavar="KEY", help="The new key: a URI, or the did:key of one elsewhere.")
@click.option("--revoke", is_flag=True, help="Take the key away without another in its place.")
@click.option("--role", "roles", multiple=True, metavar="NAME", help="Only in this role or channel; repeatable.")
@click.option("--threshold", type=click.IntRange(1), metavar="N", help="How many keys of these roles must sign then.")
@folder_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    key: str,
    successor: str | None,
    revoke: bool,
    roles: tuple[str, ...],
    threshold: int | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Stage that KEY signs no longer; KEY is its did:key, its URI in repository.toml, or its TUF key id.

    What the old key has signed is signed anew by those that remain. plasm repo sign signs and publishes it: a new root
    by enough of the old root keys and enough of the new ones.
    """
    if (successor is None) != revoke:
        raise click.UsageError("give either --to KEY or --revoke")
    new = anyio.run(name_key, successor, context_of(context)) if successor is not None else None
    with Repository.open(folder, now()) as repository:
        old = _find(repository.settings, key)
        repository.configure(_rotated(repository.settings, old, new, roles, threshold))
        staged = changes(repository.staging, repository.current())
    tell(
        {"old": old, "new": new.did if new is not None else None, "changes": list(staged)},
        "\n".join([*staged, "plasm repo sign signs it"]),
        as_json,
    )


def _find(settings: Settings, text: str) -> str:
    dids = {did for role in (*settings.roles.values(), *settings.channels.values()) for did in role.keys}
    found = [did for did in dids if text in (did, settings.keys.get(did), key_of_did(did).keyid)]
    if len(found) != 1:
        fail(f"{text[:200]!r} is not a key of this repository", "plasm repo status --json names them", code=2)
    return found[0]


def _rotated(
    settings: Settings, old: str, new: NamedKey | None, only: tuple[str, ...], threshold: int | None
) -> Settings:
    known = {*settings.roles, *settings.channels}
    for name in only:
        if name not in known:
            fail(f"{name[:80]!r} is none of {', '.join(sorted(known))}", code=2)

    def change(name: str, role: RoleSettings) -> RoleSettings:
        if old not in role.keys or (only and name not in only):
            return role
        put = [new.did] if new is not None and new.did not in role.keys else []
        keys = [each for did in role.keys for each in (put if did == old else [did])]
        return msgspec.structs.replace(role, keys=tuple(keys), threshold=threshold or role.threshold)

    # The old key's URI stays: its signature may be wanted under the root that revokes it.
    uris = dict(settings.keys)
    if new is not None:
        uris[new.did] = new.uri or uris.get(new.did, "")
    return msgspec.structs.replace(
        settings,
        keys=uris,
        roles={name: change(name, role) for name, role in settings.roles.items()},
        channels={name: change(name, role) for name, role in settings.channels.items()},
    )
