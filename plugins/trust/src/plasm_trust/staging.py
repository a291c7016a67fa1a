"""What is to be published and is not yet signed by all who must: in ``staged``, which nobody serves.

The folder may come from another machine, where somebody else signed: what is read from it is checked like anything
from outside.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plasm_trust import layout, manifest
from plasm_trust.parsing import MAX_BYTES, T, parse
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.tufapi import Metadata, Root, Targets
from plasm_trust.whole_files import read_capped, write_whole

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact

FOLDER: Final = "staged"


class Staging:
    """The folder ``staged`` of a repository."""

    def __init__(self, repository: Path) -> None:
        self._folder = repository / FOLDER
        self.artifacts = self._folder / layout.TARGETS
        """Files under ``CHANNEL/ARCH/HASH.NAME``."""

    def root(self) -> Metadata[Root] | None:
        """The root that is to be. Raises :exc:`~plasm_trust.refusal.TrustRefused` or :exc:`OSError`."""
        return self._metadata(Root, "root")

    def targets(self, role: str) -> Metadata[Targets] | None:
        """What the role ``targets``, or a channel, is to say. Raises as :meth:`root`."""
        return self._metadata(Targets, role)

    def channels(self) -> tuple[str, ...]:
        """The channels that are to say something new."""
        names = sorted(path.stem for path in (self._folder / layout.METADATA).glob("*.json"))
        return tuple(name for name in names if layout.is_channel(name))

    def put(self, role: str, metadata: Metadata[Any]) -> None:
        """Stage `metadata`, with the signatures that it has.

        Raises :exc:`~plasm_trust.refusal.TrustRefused` where it is larger than clients take.
        """
        path = self._metadata_path(role)
        data = _encoded(role, metadata)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)

    def put_channel(self, channel: str, metadata: Metadata[Targets], documents: Mapping[str, dict[str, Any]]) -> None:
        """Stage `metadata` and the manifests that go with it, in place of those that were. Raises as :meth:`put`."""
        _encoded(channel, metadata)
        for document in documents.values():
            manifest.parse(manifest.encode(document))
        # Whoever is killed in between has no draft, and not one with another's manifests.
        self.drop(channel)
        self.put_manifests(channel, documents)
        self.put(channel, metadata)

    def drop(self, role: str) -> None:
        """Forget what `role` was to say, with a channel's manifests."""
        self._metadata_path(role).unlink(missing_ok=True)
        if role not in layout.ROLES:
            shutil.rmtree(self._folder / layout.MANIFESTS / role, ignore_errors=True)

    def manifests(self, channel: str) -> dict[str, dict[str, Any]]:
        """By architecture: the manifests that go with what `channel` is to say. Raises as :meth:`root`."""
        found = {}
        for arch in layout.ARCHES:
            path = self._folder / layout.MANIFESTS / channel / arch / layout.MANIFEST
            if path.exists():
                found[arch] = manifest.parse(read_capped(path, manifest.MAX_BYTES))
        return found

    def put_manifests(self, channel: str, documents: Mapping[str, dict[str, Any]]) -> None:
        """Stage the manifests of `channel`, with the signatures that they have."""
        for arch, document in documents.items():
            path = self._folder / layout.MANIFESTS / channel / arch / layout.MANIFEST
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, manifest.encode(document))

    def artifact_path(self, artifact: Artifact) -> Path:
        """Where the content of `artifact` waits."""
        return self.artifacts / layout.hashed_name(artifact)

    def clean(self, still_wanted: frozenset[str]) -> None:
        """Remove content whose ``CHANNEL/ARCH/HASH.NAME`` is not in `still_wanted`."""
        for path in self.artifacts.glob("*/*/*"):
            if path.relative_to(self.artifacts).as_posix() not in still_wanted:
                path.unlink(missing_ok=True)

    def _metadata(self, kind: type[T], role: str) -> Metadata[T] | None:
        path = self._metadata_path(role)
        try:
            data = read_capped(path, MAX_BYTES[kind.type])
        except FileNotFoundError:
            return None
        return parse(kind, data, f"{FOLDER}/{path.name}")

    def _metadata_path(self, role: str) -> Path:
        name = role if role in layout.ROLES else layout.channel_name(role)
        return self._folder / layout.METADATA / f"{name}.json"


def _encoded(role: str, metadata: Metadata[Any]) -> bytes:
    data, most = metadata.to_bytes(), MAX_BYTES[metadata.signed.type]
    if len(data) > most:
        raise TrustRefused(
            Reason.ENDLESS_DATA,
            f"{role} would have {len(data)} bytes of metadata, and clients take {most}",
            "spread the artifacts over more channels",
        )
    return data
