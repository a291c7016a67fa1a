"""What a repository, or a mirror's copy of one, offers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from plasm_fetching.artifact import PIECE_BYTES, Artifact

from plasm_trust import layout, manifest
from plasm_trust.channels import artifacts_of
from plasm_trust.clock import signed_at
from plasm_trust.metadata_folder import first_root, metadata_names, read_metadata, version_of
from plasm_trust.parsing import MAX_BYTES
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.tufapi import Targets
from plasm_trust.verifying import VerifiedMetadata, verify_repository
from plasm_trust.whole_files import read_capped


@dataclass(frozen=True, kw_only=True)
class Published:
    """Everything that is signed in a repository, verified from its own first root on."""

    artifacts: Mapping[str, Artifact]
    """By target path."""
    manifests: Mapping[tuple[str, str], bytes]
    """By channel and architecture: manifest.json, as it was signed."""
    metadata: Mapping[str, bytes]
    """By file name below ``metadata/``: ``1.root.json``, ``timestamp.json``, ``3.snapshot.json``."""
    expires: datetime
    """The earliest expiry of what a client needs."""
    root_fingerprint: str
    """SHA-256 of the first root's bytes, in hexadecimal."""
    versions: Mapping[str, int]
    """By role (``timestamp``, ``stable``): the version that holds. It grows with each publication."""
    refused: Mapping[str, str]
    """Channels that are not offered, because what is here of them cannot be believed → why."""
    signed_at: Mapping[str, datetime] = field(default_factory=dict)
    """By role, as `versions`: when that version was signed, where it says so."""

    @classmethod
    def load(cls, folder: Path) -> Published:
        """Read and verify what is in ``metadata`` and ``manifests`` below `folder`; no artifact is read.

        What has expired is loaded: `expires` tells. Raises :exc:`plasm_trust.refusal.TrustRefused` or :exc:`OSError`.
        """
        verified = read_repository(folder)
        offered = offer(verified)
        manifests = {
            where: data
            for where in architectures(offered.artifacts)
            if (data := _read_manifest(folder, where, verified)) is not None
        }
        kept = {**_older(folder / layout.METADATA, verified), **verified.files}
        return replace(offered, manifests=manifests, metadata=kept)


def read_repository(folder: Path) -> VerifiedMetadata:
    """What is published in `folder`. Raises :exc:`TrustRefused` or :exc:`OSError`."""
    metadata = folder / layout.METADATA
    first = first_root(metadata)
    if first is None:
        raise TrustRefused(Reason.INCOMPLETE, f"there is no repository in {folder}", "plasm repo init makes one")
    return verify_repository(first, lambda name: read_metadata(metadata, name))


def offer(verified: VerifiedMetadata) -> Published:
    """What `verified` offers, manifests left out."""
    artifacts: dict[str, Artifact] = {}
    refused = dict(verified.refused)
    for name, targets in verified.channels.items():
        try:
            artifacts |= {artifact.path: artifact for artifact in artifacts_of(name, targets)}
        except TrustRefused as error:
            refused[name] = error.message
    roles = (verified.root, verified.timestamp, verified.snapshot, verified.targets)
    offered = [targets for name, targets in verified.channels.items() if name not in refused]
    return Published(
        artifacts=artifacts,
        manifests={},
        metadata=verified.files,
        expires=min(each.expires for each in (*roles, *offered)),
        root_fingerprint=hashlib.sha256(verified.first_root).hexdigest(),
        versions=verified.versions(),
        refused=refused,
        signed_at={name: time for name, each in verified.roles().items() if (time := signed_at(each)) is not None},
    )


def architectures(artifacts: Mapping[str, Artifact]) -> tuple[tuple[str, str], ...]:
    """The channels and architectures that `artifacts` are of, in order."""
    paths = (layout.target_path(path) for path in artifacts)
    return tuple(sorted({(path.channel, path.arch) for path in paths}))


def check_manifest(data: bytes, channel: str, arch: str, verified: VerifiedMetadata) -> None:
    """Raises :exc:`TrustRefused` where `data` is not the manifest of what `verified` holds for `channel` and `arch`."""
    targets = verified.channels[channel]
    keys, threshold = channel_keys(verified.targets, channel)
    found = manifest.verify(data, keys, threshold)
    signed = {
        layout.target_path(each.path).name: replace(each, pieces=(), piece_bytes=PIECE_BYTES)
        for each in artifacts_of(channel, targets)
        if each.path.startswith(f"{channel}/{arch}/")
    }
    said = (found.channel, found.arch, found.version, found.expires_at, found.artifacts)
    if said != (channel, arch, targets.version, targets.expires, signed):
        raise TrustRefused(
            Reason.MIX_AND_MATCH, f"the manifest of {channel}/{arch} is not what belongs to {channel} {targets.version}"
        )


def channel_keys(targets: Targets, channel: str) -> tuple[dict[str, bytes], int]:
    """The Ed25519 keys that may sign `channel`, by key id, and how many must. Raises :exc:`TrustRefused`."""
    role = (targets.delegations.roles or {}).get(channel) if targets.delegations is not None else None
    if targets.delegations is None or role is None:
        raise TrustRefused(Reason.WRONG_TARGET, f"there is no channel {channel!r} in this repository")
    keys = {}
    for name in role.keyids:
        key = targets.delegations.keys.get(name)
        if key is not None and key.keytype == "ed25519" and isinstance(key.keyval.get("public"), str):
            keys[name] = _from_hex(key.keyval["public"])
    return {name: public for name, public in keys.items() if len(public) == 32}, role.threshold


def _read_manifest(folder: Path, where: tuple[str, str], verified: VerifiedMetadata) -> bytes | None:
    channel, arch = where
    parent = folder / layout.MANIFESTS / channel / arch
    # The one with a version is there before the metadata that it belongs to, the plain one after it.
    for name in (f"{verified.channels[channel].version}.{layout.MANIFEST}", layout.MANIFEST):
        try:
            data = read_capped(parent / name, manifest.MAX_BYTES)
            check_manifest(data, channel, arch, verified)
        except (OSError, TrustRefused):
            continue
        return data
    return None


def _older(metadata: Path, verified: VerifiedMetadata) -> dict[str, bytes]:
    """Files of earlier versions that a client which began a moment ago may still ask for.

    Nothing follows from them here, and a client believes them only where what it has verified names them.
    """
    files = {}
    for name in sorted(metadata_names(metadata)):
        role, version = version_of(name)
        if name in verified.files or role == "root" or version >= _current(verified, role):
            continue
        files[name] = read_capped(metadata / name, max(MAX_BYTES.values()))
    return files


def _current(verified: VerifiedMetadata, role: str) -> int:
    meta = verified.snapshot.meta.get(f"{role}.json")
    if role == "snapshot":
        return verified.snapshot.version
    return meta.version if meta is not None else 0


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
