"""``phase-verify``: whether an artifact is what a channel's publisher signed, without asking anybody."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from plasm.commands import Context, context_of, fail, run_script
from plasm.exitcodes import NO
from plasm.files import NotText, text_of
from plasm_boot.options import HELP, plasm_options

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact
    from plasm_trust.clock import Clock
    from plasm_trust.manifest import Manifest

    from plasm_boot.channelkeys import ChannelKeys

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("phase-verify", context_settings=HELP)
@click.argument("manifest", type=_FILE)
@click.argument("artifact", type=_FILE)
@click.option("--root", "root_file", type=_FILE, metavar="FILE", help="The root of trust, in place of the pinned one.")
@click.option(
    "--metadata",
    "brought",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    metavar="DIR",
    help="A copy of the repository's metadata, besides what the home has kept; repeatable.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="The channel's public key in place of a root: a file (hexadecimal, base64, PEM) or a did:key. Each one that is"
    " given must have signed.",
)
@click.option("--check-version", type=click.IntRange(1), metavar="V", help="Refuse a manifest of an older version.")
@click.option("--name", metavar="NAME", help="Which artifact of the manifest it is; else what its file is called.")
@click.option("--json", "as_json", is_flag=True, help="Print what was verified as JSON.")
@plasm_options
@click.pass_context
def command(
    context: click.Context,
    *,
    manifest: Path,
    artifact: Path,
    root_file: Path | None,
    brought: tuple[Path, ...],
    keys: tuple[str, ...],
    check_version: int | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Check ARTIFACT against MANIFEST (manifest.json), and the manifest against keys that come from elsewhere.

    The keys are those of the channel under the root that is pinned in the home, or --root, or --key. No key
    is ever taken from the manifest. Exits 0 where everything fits, 1 where it does not, and prints why.
    """
    from plasm_trust import manifest as manifests
    from plasm_trust.client import TrustRefused
    from plasm_trust.whole_files import read_capped

    if keys and (root_file is not None or brought):
        raise click.UsageError("--key stands in place of --root and --metadata")
    from plasm_boot.clock import machine_clock

    clock = machine_clock()
    given = _given(keys) if keys else None
    try:
        # An editor may have saved it anew: the signature is over what it says.
        data = text_of(read_capped(manifest.resolve(), manifests.MAX_BYTES)).encode()
        document = manifests.parse(data)
        channel = document["channel"] if isinstance(document["channel"], str) else ""
        trusted = given or _under_root(context_of(context), channel, root_file, brought, clock)
        verified = manifests.verify(data, trusted.keys, trusted.threshold, now=clock.time())
    except TrustRefused as error:
        fail(f"{manifest}: not verified: {error.message}", error.mend, NO)
    except (OSError, NotText) as error:
        fail(f"{manifest} cannot be read: {getattr(error, 'strerror', None) or error}")
    if check_version is not None and verified.version < check_version:
        fail(
            f"{manifest} is version {verified.version} of {verified.channel}, older than {check_version}",
            "get the present one from a provider",
            NO,
        )
    wanted = _entry(verified, name or artifact.name, given=name is not None)
    _compare(artifact, wanted)
    signed_by = sorted(
        key for key, public in trusted.keys.items() if public in manifests.signed_by(document, trusted.keys)
    )
    if note := clock.note():
        click.echo(f"phase-verify: {note}", err=True)
    if as_json:
        print(json.dumps(_document(artifact, wanted, verified, signed_by, note)))
    else:
        print(f"{artifact}: verified: {wanted.path}, version {verified.version}, sha256:{wanted.sha256}")


def _given(texts: Sequence[str]) -> ChannelKeys:
    from plasm_trust.keyids import key_id

    from plasm_boot.channelkeys import ChannelKeys
    from plasm_boot.publickeys import InvalidKey, read_public_key

    try:
        publics = dict.fromkeys(map(read_public_key, texts))
    except InvalidKey as error:
        raise click.UsageError(f"--key {error}") from None
    return ChannelKeys({key_id(public): public for public in publics}, len(publics))


def _under_root(
    context: Context, channel: str, root_file: Path | None, brought: Sequence[Path], clock: Clock
) -> ChannelKeys:
    from plasm_boot.channelkeys import keys_of
    from plasm_boot.pinning import trusted_root

    root, kept = trusted_root(context, root_file, "http://HOST:8080/")
    return keys_of(channel, root, [*brought, *([kept] if kept is not None else [])], clock)


def _entry(verified: Manifest, name: str, *, given: bool) -> Artifact:
    wanted = verified.artifacts.get(name)
    if wanted is None:
        there = ", ".join(verified.artifacts) or "nothing"
        fail(
            f"the manifest of {verified.channel}/{verified.arch} names no {name!r}, but {there}",
            "" if given else "--name says which of them the file is",
            NO,
        )
    return wanted


def _compare(file: Path, wanted: Artifact) -> None:
    from plasm_trust.whole_files import open_regular

    try:
        with os.fdopen(open_regular(file.resolve()), "rb") as opened:
            size = opened.seek(0, 2)
            if size != wanted.size:
                fail(f"{file} has {size} bytes, and {wanted.size} are signed of {wanted.path}", "fetch it again", NO)
            opened.seek(0)
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror or error}")
    if digest != wanted.sha256:
        fail(f"{file} is not what was signed as {wanted.path}: its SHA-256 is {digest}", "fetch it again", NO)


def _document(
    file: Path, wanted: Artifact, verified: Manifest, signed_by: Sequence[str], note: str | None
) -> dict[str, Any]:
    from plasm_trust.clock import to_text

    return {
        "verified": True,
        "file": str(file),
        "path": wanted.path,
        "kind": wanted.kind,
        "artifact_version": wanted.version,
        "cmdline": wanted.cmdline,
        "size_bytes": wanted.size,
        "sha256": wanted.sha256,
        "version": verified.version,
        "expires_at": to_text(verified.expires_at),
        "signed_by": list(signed_by),
        "clock_note": note,
    }


def main() -> None:
    """The program."""
    run_script(command, "phase-verify")
