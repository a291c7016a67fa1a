"""From a root of trust to the keys of a channel, on what is kept or was brought along; nobody is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plasm_trust.client import Reason, TrustRefused
from plasm_trust.clock import Clock, in_words, signed_at
from plasm_trust.parsing import MAX_BYTES, check_signed, next_root, parse, parse_root
from plasm_trust.published import channel_keys
from plasm_trust.tufapi import Root, Targets
from plasm_trust.whole_files import read_capped

MOST_FILES: Final = 10_000
MOST_TARGETS: Final = 64
_TARGETS = re.compile(r"(?:[1-9][0-9]{0,9}\.)?targets\.json")


@dataclass(frozen=True)
class ChannelKeys:
    """Who may sign for a channel."""

    keys: dict[str, bytes]
    """By TUF key id: 32 bytes."""
    threshold: int
    """How many of them must sign."""


def keys_of(channel: str, trusted: bytes, places: Sequence[Path], clock: Clock) -> ChannelKeys:
    """The keys of `channel`, by the newest root and targets that follow from the root `trusted`.

    Metadata is looked for in `places`: folders of repositories, copies of their ``metadata``, or a home's trust folder.
    `clock` learns what was signed when. Raises :exc:`TrustRefused` or :exc:`OSError`.
    """
    folders = [
        folder
        for place in places
        for folder in (place, place / "metadata", place / "root_history", place / "metadata" / "root_history")
    ]
    root = parse_root(trusted)
    clock.saw(signed_at(root), f"when root {root.version} was signed")
    while (following := _next(root, folders)) is not None:
        root = following
        clock.saw(signed_at(root), f"when root {root.version} was signed")
    targets = max(_targets(root, folders), key=lambda each: each.version, default=None)
    if targets is None:
        raise TrustRefused(
            Reason.INCOMPLETE,
            "nothing that is here says which keys may sign: targets.json is missing",
            "phase-fetch from any provider keeps it, or --metadata names a copy of a repository's metadata; --key does"
            " without",
        )
    clock.saw(signed_at(targets), f"when targets {targets.version} was signed")
    for signed in (root, targets):
        if signed.is_expired(clock.time()):
            raise TrustRefused(
                Reason.FROZEN,
                f"{signed.type} {signed.version} expired on {in_words(signed.expires)}, and by the clock it is"
                f" {in_words(clock.time())}: its keys may be revoked, or the clock is wrong",
                "phase-fetch gets what is newer; check the date of this machine",
            )
    keys, threshold = channel_keys(targets, channel)
    return ChannelKeys(keys, threshold)


def _next(root: Root, folders: Sequence[Path]) -> Root | None:
    name = f"{root.version + 1}.root.json"
    for folder in folders:
        try:
            return next_root(root, read_capped(folder / name, MAX_BYTES["root"]))
        except (OSError, TrustRefused):
            continue
    return None


def _targets(root: Root, folders: Sequence[Path]) -> Iterator[Targets]:
    """All that `root` lets say who may sign for channels."""
    for path in _targets_files(folders):
        try:
            metadata = parse(Targets, read_capped(path, MAX_BYTES["targets"]), path.name)
            check_signed(root, Targets.type, metadata, path.name)
        except (OSError, TrustRefused):
            continue
        yield metadata.signed


def _targets_files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        try:
            names = [entry.name for _, entry in zip(range(MOST_FILES), folder.iterdir(), strict=False)]
        except OSError:
            continue
        versions = sorted(
            filter(_TARGETS.fullmatch, names),
            key=lambda name: int(name.partition(".")[0]) if name[0].isdigit() else 2**63,
        )
        yield from (folder / name for name in versions[-MOST_TARGETS:])
