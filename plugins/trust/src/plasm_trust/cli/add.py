"""``plasm repo add``: stage an artifact."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from plasm_trust import layout
from plasm_trust.cli.options import folder_option, json_option, now, target, tell
from plasm_trust.repository import Repository


@click.command("add")
@click.argument("path", callback=target, metavar="CHANNEL/ARCH/NAME")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@click.option("--kind", type=click.Choice(layout.KINDS), help="What it is; else what its name says.")
@click.option("--version", default="", metavar="TEXT", help="The version of what is in it.")
@click.option("--cmdline", default="", metavar="TEXT", help="The command line of a kernel.")
@folder_option
@json_option
def command(
    *, path: str, file: Path, kind: str | None, version: str, cmdline: str, folder: Path, as_json: bool
) -> None:
    """Copy FILE into the repository and stage it, to be signed by the keys of its channel."""
    with Repository.open(folder, now()) as repository:
        artifact = repository.add(path, file, kind=kind, version=version, cmdline=cmdline, progress=_progress)
    tell(
        {"path": artifact.path, "size_bytes": artifact.size, "sha256": artifact.sha256, "kind": artifact.kind},
        f"staged {artifact.path}: {artifact.size} bytes, sha256:{artifact.sha256}\nplasm repo sign signs it",
        as_json,
    )


def _progress(path: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\r" if done < total else "\r\x1b[K"
        click.echo(f"\r{path}: {done * 100 // max(1, total)} %", nl=False, err=True)
        click.echo(end, nl=False, err=True)
