"""``plasm repo init``: a repository, its first root, and keys where none are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import click

from plasm.commands import Context, context_of, fail
from plasm_trust import layout
from plasm_trust.cli.ceremony import Outcome, how_to_pin, sign_and_publish
from plasm_trust.cli.opening import NamedKey, name_key
from plasm_trust.cli.options import json_option, now, tell
from plasm_trust.repository import Repository
from plasm_trust.settings import RoleSettings, Settings, role_settings


def _channel_keys(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
    channels: dict[str, list[str]] = {}
    for value in values:
        name, _, uri = value.partition("=")
        if not layout.is_channel(name):
            raise click.BadParameter(f"{name[:80]!r} is not the name of a channel")
        channels.setdefault(name, []).extend([uri] if uri else [])
    return channels


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--root", "root", multiple=True, metavar="KEY", help="A key that signs root; repeatable.")
@click.option("--root-threshold", type=click.IntRange(1), metavar="N", help="How many of them must: more than half.")
@click.option(
    "--targets", "targets", multiple=True, metavar="KEY", help="Signs which channels there are: the same as root."
)
@click.option("--targets-threshold", type=click.IntRange(1), metavar="N", help="How many of them must: more than half.")
@click.option("--online", "online", multiple=True, metavar="KEY", help="Signs that it is fresh; repeatable.")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    default=("stable",),
    show_default=True,
    metavar="NAME[=KEY]",
    callback=_channel_keys,
    help="A channel and a key that signs it; repeatable.",
)
@click.option(
    "--keys",
    "keys_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A new folder for the keys of roles for which none is named: beside DIR, DIR-keys.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    folder: Path,
    root: tuple[str, ...],
    root_threshold: int | None,
    targets: tuple[str, ...],
    targets_threshold: int | None,
    online: tuple[str, ...],
    channels: dict[str, list[str]],
    keys_folder: Path | None,
    as_json: bool,
) -> None:
    """Make a repository in DIR, and sign and publish it as far as the keys are at hand.

    KEY is the URI of a key that exists (plasm key generate URI makes one), or, for one that is on another machine,
    its did:key (plasm key show URI prints it).
    """
    folder = folder.absolute()
    made = (keys_folder or folder.with_name(f"{folder.name}-keys")).absolute()
    if folder.exists() and any(folder.iterdir()):
        fail(f"{folder} is not empty", "name a folder that is yet to be made")
    own = context_of(context)
    names = _Names(own, made)

    async def run() -> Outcome:
        given = {"root": root, "targets": targets, "online": online, **channels}
        wanted = await names.settings(given, tuple(channels), root_threshold, targets_threshold)
        with Repository.create(folder, wanted, now()) as repository:
            return await sign_and_publish(repository, own)

    outcome = anyio.run(run)
    lines = [f"made {uri}" for uri in names.made]
    lines.append(outcome.text())
    if outcome.published is not None:
        lines.append(how_to_pin(folder, outcome.published))
    tell({"repository": str(folder), "made": names.made, **outcome.document()}, "\n".join(lines), as_json)


class _Names:
    """Who is to sign what: the keys that were named, and for the rest new ones in the folder `keys`."""

    def __init__(self, context: Context, keys: Path) -> None:
        self._context = context
        self._folder = keys
        self._uris: dict[str, str] = {}
        self.made: list[str] = []
        """URIs of the keys that were made."""

    async def settings(
        self,
        given: Mapping[str, Sequence[str]],
        channels: Sequence[str],
        root_threshold: int | None,
        targets_threshold: int | None,
    ) -> Settings:
        # All that are named are opened before any is made: what was mistyped leaves nothing behind.
        found = {name: [self._note(await name_key(uri, self._context)) for uri in uris] for name, uris in given.items()}
        # Who may say which channels there are is as grave as who may say who says so.
        root = found["root"] or await self._make("root")
        targets = found["targets"] or root
        if together := {*found["online"]} & {*root, *targets}:
            fail(
                f"{together.pop()} is to sign both root or targets and that they are fresh",
                "an online key is in more danger than an offline one: name another with --online",
            )
        online = found["online"] or await self._make("online")
        own = {name: role_settings(name, tuple(found[name] or await self._make(name))) for name in channels}
        half = targets_threshold or (root_threshold if not found["targets"] else None)
        return Settings(
            keys=self._uris,
            roles={
                "root": _role("root", root, root_threshold),
                "targets": _role("targets", targets, half),
                "snapshot": role_settings("snapshot", tuple(online)),
                "timestamp": role_settings("timestamp", tuple(online)),
            },
            channels=own,
        )

    async def _make(self, name: str) -> list[str]:
        uri = f"file:{self._folder / f'{name}.key'}"
        key = await name_key(uri, self._context, create=True)
        self.made.append(uri)
        return [self._note(key)]

    def _note(self, key: NamedKey) -> str:
        self._uris[key.did] = key.uri or self._uris.get(key.did, "")
        return key.did


def _role(name: str, keys: Sequence[str], threshold: int | None) -> RoleSettings:
    return role_settings(name, tuple(keys), threshold or len(keys) // 2 + 1)
