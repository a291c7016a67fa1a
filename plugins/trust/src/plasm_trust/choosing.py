"""Which of what is staged can be published now: as much as is signed by all who must, and hangs together.

A new root, new targets and new channels may each be staged. A channel that a new key signs holds only under the new
targets that name this key, and those perhaps only under the new root; so combinations are tried, the newest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from plasm_trust import drafting, manifest
from plasm_trust.channels import artifacts_of
from plasm_trust.parsing import check_signed
from plasm_trust.published import channel_keys
from plasm_trust.refusal import TrustRefused
from plasm_trust.staging import Staging
from plasm_trust.tufapi import Metadata, Root, Targets
from plasm_trust.verifying import VerifiedMetadata, channel_names, root_file


@dataclass(frozen=True, kw_only=True)
class Current:
    """Signed metadata as it is published, by role; empty before the first publication."""

    root: Metadata[Root] | None
    targets: Mapping[str, Metadata[Targets]]
    """Of the role ``targets`` and of channels."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the next state of the repository is made of."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    channels: Mapping[str, Metadata[Targets]]
    manifests: Mapping[str, Mapping[str, dict[str, Any]]]
    """By channel, of those that are new, and architecture."""
    new: frozenset[str]
    """The roles that come from what is staged."""


def current_of(published: VerifiedMetadata | None) -> Current:
    """What is published, with its signatures."""
    if published is None:
        return Current(root=None, targets={})
    names = {"targets": published.targets, **published.channels}
    return Current(
        root=Metadata[Root].from_bytes(published.files[root_file(published.root.version)]),
        targets={
            name: Metadata[Targets].from_bytes(published.files[f"{signed.version}.{name}.json"])
            for name, signed in names.items()
        },
    )


def choose(staging: Staging, current: Current) -> Choice | None:
    """The newest state that is signed as it must be; ``None`` where there is none at all.

    Raises :exc:`TrustRefused` or :exc:`OSError` where what is staged cannot be read.
    """
    roots = [each for each in (staging.root(), current.root) if each is not None]
    targets = [each for each in (staging.targets("targets"), current.targets.get("targets")) if each is not None]
    for root, top in product(roots, targets):
        if root_holds(root, current.root) and holds(root.signed, "targets", top):
            choice = _with_channels(staging, current, root, top)
            if choice is not None:
                return choice
    return None


def holds(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> bool:
    """Whether `metadata` is signed as `delegator` wants it of `role`."""
    try:
        check_signed(delegator, role, metadata, role)
    except TrustRefused:
        return False
    return True


def root_holds(root: Metadata[Root], before: Metadata[Root] | None) -> bool:
    """Whether `root` is signed by itself and, where it is a new one, by `before`."""
    if not holds(root.signed, "root", root):
        return False
    return before is None or root is before or holds(before.signed, "root", root)


def manifests_belong(channel: str, metadata: Metadata[Targets], documents: Mapping[str, dict[str, Any]]) -> bool:
    """Whether `documents` say, for each architecture, what `metadata` of `channel` says, whoever has signed them."""
    wanted = drafting.draft_manifests(channel, metadata.signed, artifacts_of(channel, metadata.signed))
    said = {arch: {**document, "signatures": []} for arch, document in documents.items()}
    return said == wanted


def _manifests_hold(targets: Targets, channel: str, documents: Mapping[str, dict[str, Any]]) -> bool:
    keys, threshold = channel_keys(targets, channel)
    try:
        for document in documents.values():
            manifest.verify(manifest.encode(document), keys, threshold)
    except TrustRefused:
        return False
    return True


def _with_channels(staging: Staging, current: Current, root: Metadata[Root], top: Metadata[Targets]) -> Choice | None:
    channels: dict[str, Metadata[Targets]] = {}
    manifests: dict[str, Mapping[str, dict[str, Any]]] = {}
    new = {each.signed.type for each in (root, top) if each not in (current.root, current.targets.get("targets"))}
    for name in channel_names(top.signed):
        staged, published = staging.targets(name), current.targets.get(name)
        documents = staging.manifests(name)
        if (
            staged is not None
            and holds(top.signed, name, staged)
            and manifests_belong(name, staged, documents)
            and _manifests_hold(top.signed, name, documents)
        ):
            channels[name], manifests[name] = staged, documents
            new.add(name)
        elif published is not None and holds(top.signed, name, published):
            channels[name] = published
        else:
            return None
    return Choice(root=root, targets=top, channels=channels, manifests=manifests, new=frozenset(new))
