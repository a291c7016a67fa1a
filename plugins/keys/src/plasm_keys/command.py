"""``plasm key``: show, back up, restore and make keys: the identity of a node, and those that a URI names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import IO

import anyio
import click

from plasm.commands import Context, context_of
from plasm.identity import did_key, peer_id
from plasm.ports import Signer, SignerError
from plasm.signing import create_signer, open_signer
from plasm_keys import keyfile
from plasm_keys.private_file import publish_private
from plasm_keys.signers import KEY_NAME

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
uri_argument = click.argument("uri", default="", metavar="[URI]")


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
    return context_of(context).home / "keys" / KEY_NAME


def _print_names(public_key: bytes, as_json: bool) -> None:
    peer = peer_id(public_key)
    names = {"peer_id": peer, "did_key": did_key(peer)}
    if as_json:
        click.echo(json.dumps(names))
    else:
        for name in names.values():
            click.echo(name)


def _public_key(uri: str, opened: Callable[..., AbstractAsyncContextManager[Signer]], context: Context) -> bytes:
    async def read() -> bytes:
        async with opened(uri, registry=context.registry()) as signer:
            return signer.public_key

    return anyio.run(read)


@click.group()
def key() -> None:
    """Make, show and save Ed25519 keys: the node's identity in its home, and others by URI."""


@key.command()
@uri_argument
@as_json_option
@click.pass_context
def show(context: click.Context, uri: str, as_json: bool) -> None:
    """Print a key's peer ID and did:key.

    It is this home's, or the one that URI names: file:/PATH, encrypted:/PATH, pkcs11:token=TOKEN;object=KEY.
    """
    if uri:
        _print_names(_public_key(uri, open_signer, context_of(context)), as_json)
        return
    path = _key_path(context)
    with _failing_in_one_line():
        _print_names(keyfile.load(path).public_key, as_json)


@key.command()
@uri_argument
@as_json_option
@click.pass_context
def generate(context: click.Context, uri: str, as_json: bool) -> None:
    """Make a key where there is none.

    It is this home's, or the one that URI names: file:/PATH, encrypted:/PATH, pkcs11:token=TOKEN;object=KEY. A
    passphrase or PIN is asked for at the terminal, or read from the file that PLASM_PASSPHRASE_FILE or PLASM_PIN_FILE
    names.
    """
    if uri:
        _print_names(_public_key(uri, create_signer, context_of(context)), as_json)
        return
    path = _key_path(context)
    with _failing_in_one_line():
        _print_names(keyfile.create(path).public_key, as_json)


@key.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A new file, made with mode 0600.")
@click.pass_context
def export(context: click.Context, output: Path | None) -> None:
    """Write this home's private key for a backup.

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
    """Restore this home's key from a backup.

    FILE is what plasm key export wrote, or - for stdin. A key that is there already stays.
    """
    path = _key_path(context)
    try:
        pem = source.read(keyfile.MAX_PEM_BYTES + 1)
    except OSError as error:
        raise KeyCommandFailed(f"cannot read the backup: {error.strerror}") from None
    with _failing_in_one_line():
        keyfile.install(path, pem)
        _print_names(keyfile.load(path).public_key, as_json)
