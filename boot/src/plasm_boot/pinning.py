"""Which root of trust counts: the one that is named, or the one that the home has pinned."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
from plasm_fetching.http import FetchError, InvalidUrl, read
from plasm_trust.client import PINNED, TrustRefused
from plasm_trust.parsing import MAX_BYTES
from plasm_trust.whole_files import read_capped

from plasm.commands import Context, fail
from plasm.exitcodes import NO
from plasm_boot.trustfolder import TrustFolder, kept_in_home, pin_in_home, pinned_in_home, trust_in

_FINGERPRINT = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
READ_SECONDS = 10.0


def parse_fingerprint(text: str) -> str:
    """64 hexadecimal digits, however they are grouped. Raises :exc:`click.BadParameter`."""
    match = _FINGERPRINT.fullmatch(re.sub(r"(?<!sha256):|[\s-]", "", text.lower()))
    if match is None:
        raise click.BadParameter(f"{text[:100]!a} is not a SHA-256 of 64 hexadecimal digits")
    return match[1]


def pin_root(context: Context, source: str, expected: str | None) -> TrustFolder:
    """Pin the root in the file or at the URL `source`, whose SHA-256 must be `expected`.

    A URL needs one: what a stranger serves is believed because somebody who is trusted named its fingerprint. Raises
    :exc:`plasm.commands.CommandFailed` or :exc:`click.UsageError`.
    """
    if "://" in source:
        if expected is None:
            raise click.UsageError("a root from a URL is pinned by its fingerprint alone: --fingerprint HEX")
        try:
            root = read(source, max_bytes=MAX_BYTES["root"], timeout=READ_SECONDS, allows=context.plan(()).allows)
        except InvalidUrl as error:
            raise click.UsageError(str(error)) from None
        except FetchError as error:
            fail(str(error), "any provider of that publisher has it", NO)
    else:
        root = _read_root(Path(source))
    actual = hashlib.sha256(root).hexdigest()
    if expected is not None and actual != expected:
        fail(
            f"{source} has the SHA-256 {actual}, and not the one that was named",
            "compare both with what the publisher says, and pin nothing else",
            NO,
        )
    try:
        return pin_in_home(context, root)
    except TrustRefused as error:
        fail(error.message, error.mend, NO)


@contextmanager
def root_of_trust(context: Context, root_file: Path | None, base_url: str) -> Iterator[TrustFolder]:
    """The folder of the root in `root_file`, else of the pinned one.

    `base_url` is a provider's, for the command that would pin its root. Raises
    :exc:`plasm.commands.CommandFailed` where there is none.
    """
    if root_file is None:
        yield pinned_in_home(context) or refuse(context, base_url)
        return
    root = _read_root(root_file)
    try:
        with trust_in(context, root) as folder:
            yield folder
    except TrustRefused as error:
        fail(f"{root_file}: {error.message}", error.mend, NO)


def trusted_root(context: Context, root_file: Path | None, base_url: str) -> tuple[bytes, Path | None]:
    """The root in `root_file`, else the pinned one, and the folder where the home has kept what is signed under it.

    Nothing is written. Raises as :func:`root_of_trust`.
    """
    if root_file is None:
        pinned = pinned_in_home(context) or refuse(context, base_url)
        return _read_root(pinned.path / PINNED), pinned.path
    root = _read_root(root_file)
    return root, kept_in_home(context, hashlib.sha256(root).hexdigest())


def refuse(context: Context, base_url: str) -> NoReturn:
    """Nothing is pinned: say which command would."""
    home = f" --home {shlex.quote(str(context.home_path))}" if context.home_path is not None else ""
    url = shlex.quote(f"{base_url}metadata/1.root.json")
    fail(
        "no root of trust is pinned in this home, and nothing is believed without one",
        f"get its fingerprint from the publisher, then: phase-fetch{home} --pin {url} --fingerprint HEX;"
        " or name it each time: --root FILE",
        NO,
    )


def _read_root(path: Path) -> bytes:
    try:
        return read_capped(path.resolve(), MAX_BYTES["root"])
    except OSError as error:
        fail(f"the root of trust cannot be read: {error}", "name its file")
