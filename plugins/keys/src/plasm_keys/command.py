"""``plasm key``: show, back up, restore and make the identity of a node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from plasm.identity import did_key, peer_id
from plasm.ports import Signer, SignerError
from plasm_keys import keyfile
from plasm_keys.private_file import publish_private
from plasm_keys.signers import KEY_NAME

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class KeyCommandFailed(click.ClickException):
    """Plasm failed: one line on stderr that says how to mend it."""

    exit_code = 125


@contextmanager
def _failing_in_one_line() -> Iterator[None]:
    try:
        yield
    except keyfile.KeyMissing as error:
        raise KeyCommandFailed(f"{error}; make one: plasm key generate") from None
    except SignerError as error:
        raise KeyCommandFailed(str(error)) from None


def _key_path(context: click.Context) -> Path:
    home: Path | None = getattr(context.find_root().obj, "home", None)
    if home is None:
        raise KeyCommandFailed("there is no home for a key here: nothing may be written; choose another --profile")
    return home / "keys" / KEY_NAME


def _print_names(signer: Signer, as_json: bool) -> None:
    peer = peer_id(signer.public_key)
    names = {"peer_id": peer, "did_key": did_key(peer)}
    if as_json:
        click.echo(json.dumps(names))
    else:
        for name in names.values():
            click.echo(name)


@click.group()
def key() -> None:
    """The node's identity: an Ed25519 key in its home."""


@key.command()
@as_json_option
@click.pass_context
def show(context: click.Context, as_json: bool) -> None:
    """Print this home's peer ID and did:key."""
    path = _key_path(context)
    with _failing_in_one_line():
        _print_names(keyfile.load(path), as_json)


@key.command()
@as_json_option
@click.pass_context
def generate(context: click.Context, as_json: bool) -> None:
    """Make a key where there is none."""
    path = _key_path(context)
    with _failing_in_one_line():
        _print_names(keyfile.create(path), as_json)


@key.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A new file, made with mode 0600.")
@click.pass_context
def export(context: click.Context, output: Path | None) -> None:
    """Write the private key for a backup.

    It goes to stdout or to a new file, in PEM.
    """
    path = _key_path(context)
    with _failing_in_one_line():
        pem = keyfile.export(path)
        if output is not None:
            publish_private(output, pem)
    click.echo("warning: this is the private key; whoever has it is this node", err=True)
    if output is None:
        click.echo(pem, nl=False)


@key.command("import")
@click.argument("source", type=click.File("rb"), metavar="FILE")
@as_json_option
@click.pass_context
def import_(context: click.Context, source: IO[bytes], as_json: bool) -> None:
    """Restore the key from a backup.

    FILE is what plasm key export wrote, or - for stdin. A key that is there already stays.
    """
    path = _key_path(context)
    try:
        pem = source.read(keyfile.MAX_PEM_BYTES + 1)
    except OSError as error:
        raise KeyCommandFailed(f"cannot read the backup: {error.strerror}") from None
    with _failing_in_one_line():
        keyfile.install(path, pem)
        _print_names(keyfile.load(path), as_json)
