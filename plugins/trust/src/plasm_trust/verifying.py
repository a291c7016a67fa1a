"""A whole repository's metadata, verified from its first root on, with no eye on the clock.

The publisher and whoever serves a copy need all of it at once; a client goes by :mod:`plasm_trust.client`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tuf.api.exceptions import LengthOrHashMismatchError

from plasm_trust import layout
from plasm_trust.channels import check_own
from plasm_trust.parsing import T, check_signed, next_root, parse, parse_root
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.tufapi import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp

ReadFile = Callable[[str], bytes | None]
"""The file of that name below ``metadata/``; ``None`` where there is none."""

TIMESTAMP = "timestamp.json"


@dataclass(kw_only=True)
class VerifiedMetadata:
    """One consistent state of a repository."""

    first_root: bytes
    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    channels: Mapping[str, Targets]
    refused: Mapping[str, str]
    """Channels that cannot be believed → why; they concern nobody else."""
    files: dict[str, bytes] = field(default_factory=dict)
    """By file name below ``metadata/``: all that was read on the way."""

    def versions(self) -> dict[str, int]:
        """By role: the version that holds."""
        return {name: each.version for name, each in self.roles().items()}

    def roles(self) -> dict[str, Signed]:
        """By role: what holds."""
        top: tuple[Signed, ...] = (self.root, self.timestamp, self.snapshot, self.targets)
        return {**self.channels, **{each.type: each for each in top}}


def root_file(version: int) -> str:
    """``3.root.json``"""
    return f"{version}.root.json"


def verify_roots(first: int, read: ReadFile) -> tuple[Root, dict[str, bytes]]:
    """The newest root that follows from the one of version `first`, and the files on the way.

    Raises :exc:`TrustRefused`.
    """
    data = read(root_file(first))
    if data is None:
        raise TrustRefused(Reason.INCOMPLETE, f"{root_file(first)} is missing")
    root = parse_root(data, root_file(first))
    if root.version != first:
        raise TrustRefused(Reason.ROLLBACK, f"{root_file(first)} says that it is version {root.version}")
    files = {root_file(first): data}
    while (data := read(root_file(root.version + 1))) is not None:
        root = next_root(root, data)
        files[root_file(root.version)] = data
    return root, files


def verify_repository(first: int, read: ReadFile) -> VerifiedMetadata:
    """What is published, from the root of version `first` on. Raises :exc:`TrustRefused`.

    Where the newest root is not yet followed by what its keys sign, its publication was interrupted, and the one
    before holds.
    """
    root, files = verify_roots(first, read)
    try:
        return _below(root, files, first, read)
    except TrustRefused:
        if root.version == first:
            raise
        del files[root_file(root.version)]
        before = parse(Root, files[root_file(root.version - 1)], "root").signed
        with contextlib.suppress(TrustRefused):
            return _below(before, files, first, read)
        raise


def _below(root: Root, roots: Mapping[str, bytes], first: int, read: ReadFile) -> VerifiedMetadata:
    files = dict(roots)
    data = _read(read, files, TIMESTAMP)
    timestamp = parse(Timestamp, data, TIMESTAMP)
    check_signed(root, Timestamp.type, timestamp, TIMESTAMP)
    snapshot = _named(read, files, Snapshot, Snapshot.type, timestamp.signed.snapshot_meta, root)
    targets = _named(read, files, Targets, Targets.type, _meta_of(snapshot, Targets.type), root)
    channels: dict[str, Targets] = {}
    refused: dict[str, str] = {}
    for name in channel_names(targets):
        own: dict[str, bytes] = {}
        try:
            channel = _named(read, own, Targets, name, _meta_of(snapshot, name), targets)
            check_own(name, channel)
        except TrustRefused as error:
            refused[name] = error.message
            continue
        channels[name] = channel
        files |= own
    return VerifiedMetadata(
        first_root=files[root_file(first)],
        root=root,
        timestamp=timestamp.signed,
        snapshot=snapshot,
        targets=targets,
        channels=channels,
        refused=refused,
        files=files,
    )


def channel_names(targets: Targets) -> tuple[str, ...]:
    """The channels that top-level targets delegate to."""
    roles = targets.delegations.roles if targets.delegations is not None else None
    return tuple(name for name in roles or () if layout.is_channel(name))


def check_belongs(meta: MetaFile, metadata: Metadata[T], data: bytes, name: str) -> None:
    """Raises :exc:`TrustRefused` where the file `name` is not the one that `meta` names."""
    try:
        meta.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise TrustRefused(Reason.MIX_AND_MATCH, f"{name} is not what belongs to the rest: {error}") from None
    if metadata.signed.version != meta.version:
        raise TrustRefused(Reason.MIX_AND_MATCH, f"{name} says that it is version {metadata.signed.version}")


def _named(
    read: ReadFile, files: dict[str, bytes], kind: type[T], role: str, meta: MetaFile, delegator: Root | Targets
) -> T:
    """The metadata of `role` in the version that `meta` names."""
    name = f"{meta.version}.{role}.json"
    data = _read(read, files, name)
    metadata = parse(kind, data, name)
    check_belongs(meta, metadata, data, name)
    check_signed(delegator, role, metadata, name)
    return metadata.signed


def _meta_of(snapshot: Snapshot, role: str) -> MetaFile:
    try:
        return snapshot.meta[f"{role}.json"]
    except KeyError:
        raise TrustRefused(Reason.MIX_AND_MATCH, f"the snapshot does not name {role}.json") from None


def _read(read: ReadFile, files: dict[str, bytes], name: str) -> bytes:
    data = read(name)
    if data is None:
        raise TrustRefused(Reason.INCOMPLETE, f"{name} is missing")
    files[name] = data
    return data
