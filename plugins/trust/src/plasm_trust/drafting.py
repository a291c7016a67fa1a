"""New versions of metadata, before anybody has signed them. Nothing here reads or writes a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from plasm_trust import layout, manifest
from plasm_trust.clock import signed_at, stamp
from plasm_trust.custom import check, custom_of
from plasm_trust.keys import key_of_did
from plasm_trust.tufapi import (
    DelegatedRole,
    Delegations,
    Key,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact

    from plasm_trust.settings import RoleSettings, Settings


def draft_root(settings: Settings, before: Root | None, now: datetime) -> Root:
    """The root that `settings` ask for, to follow `before`."""
    keys = {key.keyid: key for name in layout.ROLES for key in _keys(settings.roles[name])}
    roles = {
        name: Role([key.keyid for key in _keys(settings.roles[name])], settings.roles[name].threshold)
        for name in sorted(layout.ROLES)
    }
    root = Root(
        version=before.version + 1 if before is not None else 1,
        expires=_until(now, settings.roles["root"]),
        keys=keys,
        roles=roles,
        consistent_snapshot=True,
    )
    stamp(root, now)
    return root


def same_root(one: Root, other: Root) -> bool:
    """Whether both let the same keys sign the same things."""
    return one.keys == other.keys and one.roles == other.roles


def draft_targets(settings: Settings, before: Targets | None, now: datetime) -> Targets:
    """The top-level targets that `settings` ask for: a delegation to each channel, and no artifact."""
    keys: dict[str, Key] = {}
    roles: dict[str, DelegatedRole] = {}
    for name, channel in sorted(settings.channels.items()):
        own = _keys(channel)
        keys |= {key.keyid: key for key in own}
        roles[name] = DelegatedRole(
            name, [key.keyid for key in own], channel.threshold, terminating=True, paths=[f"{name}/*/*"]
        )
    targets = Targets(
        version=before.version + 1 if before is not None else 1,
        expires=_until(now, settings.roles["targets"]),
        delegations=Delegations(keys, roles),
    )
    stamp(targets, now)
    return targets


def same_targets(one: Targets, other: Targets) -> bool:
    """Whether both delegate the same paths to the same keys."""
    return one.delegations == other.delegations


def draft_channel(
    settings: RoleSettings, artifacts: Iterable[Artifact], before: Targets | None, now: datetime
) -> Targets:
    """The metadata of a channel that holds `artifacts`. Raises :exc:`plasm_trust.refusal.TrustRefused`."""
    targets: dict[str, TargetFile] = {}
    for artifact in sorted(artifacts, key=lambda each: each.path):
        check(artifact)
        targets[artifact.path] = TargetFile(
            artifact.size, {"sha256": artifact.sha256}, artifact.path, {"custom": custom_of(artifact)}
        )
    channel = Targets(
        version=before.version + 1 if before is not None else 1, expires=_until(now, settings), targets=targets
    )
    stamp(channel, now)
    return channel


def draft_manifests(name: str, channel: Targets, artifacts: Iterable[Artifact]) -> dict[str, dict[str, Any]]:
    """By architecture: the manifests that go with the metadata `channel`, which was made by :func:`draft_channel`."""
    by_arch: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        by_arch.setdefault(layout.target_path(artifact.path).arch, []).append(artifact)
    return {
        arch: manifest.make(
            name,
            arch,
            channel.version,
            sorted(own, key=lambda each: each.path),
            created_at=signed_at(channel) or channel.expires,
            expires_at=channel.expires,
        )
        for arch, own in sorted(by_arch.items())
    }


def draft_snapshot(
    settings: Settings, before: Snapshot | None, files: Mapping[str, tuple[int, bytes]], now: datetime
) -> Snapshot:
    """The snapshot of `files`: by name (``stable.json``), version and bytes. What `before` names stays named."""
    meta = dict(before.meta) if before is not None else {}
    meta |= {name: _meta(version, data) for name, (version, data) in files.items()}
    snapshot = Snapshot(
        version=before.version + 1 if before is not None else 1,
        expires=_until(now, settings.roles["snapshot"]),
        meta=meta,
    )
    stamp(snapshot, now)
    return snapshot


def draft_timestamp(
    settings: Settings, before: Timestamp | None, snapshot: tuple[int, bytes], now: datetime
) -> Timestamp:
    """The timestamp that names the snapshot of that version and those bytes."""
    timestamp = Timestamp(
        version=before.version + 1 if before is not None else 1,
        expires=_until(now, settings.roles["timestamp"]),
        snapshot_meta=_meta(*snapshot),
    )
    stamp(timestamp, now)
    return timestamp


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])


def _keys(role: RoleSettings) -> list[Key]:
    return sorted((key_of_did(did) for did in role.keys), key=lambda key: key.keyid)


def _until(now: datetime, role: RoleSettings) -> datetime:
    return now + timedelta(days=role.valid_days)
