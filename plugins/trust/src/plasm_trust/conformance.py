"""``plasm-tuf-client``: our client under the command line of the TUF conformance suite.

It follows the suite's CLIENT-CLI.md: ``init`` makes no request, ``refresh`` takes the top-level metadata, ``download``
takes one target; files in the metadata folder have names without versions; 0 is success and 1 everything else. Any
TUF repository will do, not only ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import click
from plasm_fetching.http import FetchError, read
from tuf.api.exceptions import LengthOrHashMismatchError

from plasm.errors import PlasmError, one_line
from plasm.streams import open_standard_streams
from plasm_trust.clock import Clock
from plasm_trust.parsing import MAX_BYTES
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.updater import PinnedUpdater
from plasm_trust.whole_files import read_capped, write_whole

MAX_TARGET_BYTES: Final = 256 * 2**20
"""Of a target, which is held in memory here."""


@dataclass(frozen=True, kw_only=True)
class _Options:
    metadata_dir: Path
    metadata_url: str
    target_name: str
    target_base_url: str
    target_dir: Path

    def updater(self) -> PinnedUpdater:
        # root.json is a symbolic link of ours, to the newest root that was verified.
        root = read_capped((self.metadata_dir / "root.json").resolve(), MAX_BYTES["root"])
        clock = Clock(lambda: datetime.now(UTC))
        return PinnedUpdater(self.metadata_dir, self.metadata_url, root=root, read=_read, clock=clock)


def _read(url: str, max_bytes: int) -> bytes:
    return read(url, max_bytes=max_bytes)


@click.group()
@click.option("--metadata-dir", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--metadata-url", default="")
@click.option("--target-name", default="")
@click.option("--target-base-url", default="")
@click.option("--target-dir", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.pass_context
def command(
    context: click.Context,
    metadata_dir: Path,
    metadata_url: str,
    target_name: str,
    target_base_url: str,
    target_dir: Path,
) -> None:
    """A TUF client: init ROOT, refresh or download."""
    context.obj = _Options(
        metadata_dir=metadata_dir,
        metadata_url=metadata_url,
        target_name=target_name,
        target_base_url=target_base_url,
        target_dir=target_dir,
    )


@command.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_obj
def init(options: _Options, root: Path) -> None:
    """Trust ROOT, and what follows from it."""
    options.metadata_dir.mkdir(parents=True, exist_ok=True)
    data = read_capped(root.resolve(), MAX_BYTES["root"])
    # The updater has a link to its newest root there.
    (options.metadata_dir / "root.json").unlink(missing_ok=True)
    write_whole(options.metadata_dir / "root.json", data)


@command.command()
@click.pass_obj
def refresh(options: _Options) -> None:
    """Take the newest top-level metadata."""
    options.updater().refresh()


@command.command()
@click.pass_obj
def download(options: _Options) -> None:
    """Take one target, unless it is there already."""
    updater = options.updater()
    target = updater.get_targetinfo(options.target_name)
    if target is None:
        raise TrustRefused(Reason.WRONG_TARGET, f"{options.target_name} is not signed in this repository")
    options.target_dir.mkdir(parents=True, exist_ok=True)
    path = options.target_dir / updater.file_name(target)
    if updater.find_cached_target(target, str(path)) is not None:
        return
    data = _read(updater.target_url(options.target_base_url, target), min(target.length, MAX_TARGET_BYTES))
    try:
        target.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise TrustRefused(Reason.WRONG_TARGET, f"{options.target_name}: {error}") from None
    write_whole(path, data)


def run(arguments: Sequence[str]) -> int:
    """Run the command: 0 where it did what was asked, else 1 with a line on stderr."""
    try:
        command.main(list(arguments), standalone_mode=False)
    except (PlasmError, FetchError, OSError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        print(f"plasm-tuf-client: {one_line(text)}", file=sys.stderr)
        return 1
    return 0


def main() -> NoReturn:
    """The script ``plasm-tuf-client``."""
    open_standard_streams()
    sys.exit(run(sys.argv[1:]))
