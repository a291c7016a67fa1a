"""Putting a new state of a repository in the place of the old one, whole at every moment.

What has its version in its name is written first and can be seen by nobody, since nothing names it. ``timestamp.json``
is what publishes; names without a version follow. Whoever is killed in between leaves the old state or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from plasm_trust import layout, manifest
from plasm_trust.metadata_folder import metadata_names, version_of
from plasm_trust.parsing import MAX_BYTES
from plasm_trust.verifying import TIMESTAMP
from plasm_trust.whole_files import read_capped, sweep, write_whole

KEPT_VERSIONS: Final = 3
"""Of each role but root, whose versions are all kept: a client that has just begun still asks for the last ones."""

Manifests = Mapping[tuple[str, str], tuple[int, bytes]]
"""By channel and architecture: the channel's version, and manifest.json."""


def install(folder: Path, files: Mapping[str, bytes], manifests: Manifests) -> None:
    """Publish `files` (by name below ``metadata/``) and `manifests` in `folder`; nobody else writes there meanwhile.

    Raises :exc:`OSError`.
    """
    metadata = folder / layout.METADATA
    metadata.mkdir(parents=True, exist_ok=True)
    sweep(metadata)
    sweep(folder / layout.MANIFESTS)
    roots = sorted((name for name in files if version_of(name)[0] == "root"), key=version_of)
    for name in files.keys() - {TIMESTAMP, *roots}:
        _write(metadata / name, files[name])
    for (channel, arch), (version, data) in manifests.items():
        _write(manifest_folder(folder, channel, arch) / f"{version}.{layout.MANIFEST}", data)
    # A new root may name another key for the timestamp, so nothing comes between the two.
    for name in (*roots, TIMESTAMP):
        _write(metadata / name, files[name])
    for (channel, arch), (_, data) in manifests.items():
        _write(manifest_folder(folder, channel, arch) / layout.MANIFEST, data)
    _forget_manifests(folder, manifests)
    _forget_versions(metadata)


def manifest_folder(folder: Path, channel: str, arch: str) -> Path:
    """Where a repository has the manifests of `channel` for `arch`."""
    return folder / layout.MANIFESTS / channel / arch


def _write(path: Path, data: bytes) -> None:
    try:
        if read_capped(path, max(*MAX_BYTES.values(), manifest.MAX_BYTES)) == data:
            return
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)


def _forget_versions(metadata: Path) -> None:
    versions: dict[str, list[int]] = {}
    for name in metadata_names(metadata):
        role, version = version_of(name)
        if role not in ("root", "timestamp"):
            versions.setdefault(role, []).append(version)
    for role, present in versions.items():
        for version in sorted(present)[:-KEPT_VERSIONS]:
            (metadata / f"{version}.{role}.json").unlink(missing_ok=True)


def _forget_manifests(folder: Path, manifests: Manifests) -> None:
    for path in (folder / layout.MANIFESTS).glob(f"*/*/*{layout.MANIFEST}"):
        *_, channel, arch, name = path.parts
        current = manifests.get((channel, arch))
        if current is None or name not in (layout.MANIFEST, f"{current[0]}.{layout.MANIFEST}"):
            path.unlink(missing_ok=True)
