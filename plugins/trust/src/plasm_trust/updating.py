"""Staging a draft of each role that is not as the settings want it, and of no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from plasm_trust import drafting
from plasm_trust.channels import artifacts_of
from plasm_trust.choosing import Current, holds
from plasm_trust.settings import Settings
from plasm_trust.staging import Staging
from plasm_trust.tufapi import Metadata, Root, Targets

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact


def stage_drafts(
    settings: Settings,
    staging: Staging,
    current: Current,
    renewed: frozenset[str],
    artifacts: Mapping[str, Sequence[Artifact]],
    now: datetime,
) -> None:
    """Bring what is staged in line with `settings`; a draft that is so already keeps its signatures.

    `renewed` names roles that get a new version in any case; `artifacts` holds channels with new content. Raises
    :exc:`plasm_trust.refusal.TrustRefused` or :exc:`OSError`.
    """
    root = _stage_root(settings, staging, current.root, "root" in renewed, now)
    targets = _stage_targets(settings, staging, current.targets.get("targets"), root, "targets" in renewed, now)
    for name in settings.channels:
        _stage_channel(
            name, settings, staging, current.targets.get(name), targets, name in renewed, artifacts.get(name), now
        )
    for name in staging.channels():
        if name not in settings.channels:
            staging.drop(name)


def _stage_root(
    settings: Settings, staging: Staging, before: Metadata[Root] | None, renew: bool, now: datetime
) -> Root:
    draft = drafting.draft_root(settings, before.signed if before is not None else None, now)
    staged = staging.root()
    if staged is not None and drafting.same_root(staged.signed, draft):
        return staged.signed
    if before is not None and not renew and drafting.same_root(before.signed, draft):
        staging.drop("root")
        return before.signed
    staging.put("root", Metadata(draft))
    return draft


def _stage_targets(
    settings: Settings, staging: Staging, before: Metadata[Targets] | None, root: Root, renew: bool, now: datetime
) -> Targets:
    draft = drafting.draft_targets(settings, before.signed if before is not None else None, now)
    staged = staging.targets("targets")
    if staged is not None and drafting.same_targets(staged.signed, draft):
        return staged.signed
    if (
        before is not None
        and not renew
        and drafting.same_targets(before.signed, draft)
        and holds(root, "targets", before)
    ):
        staging.drop("targets")
        return before.signed
    staging.put("targets", Metadata(draft))
    return draft


def _stage_channel(
    name: str,
    settings: Settings,
    staging: Staging,
    before: Metadata[Targets] | None,
    targets: Targets,
    renew: bool,
    artifacts: Sequence[Artifact] | None,
    now: datetime,
) -> None:
    staged = staging.targets(name)
    if artifacts is None:
        if staged is not None:
            return
        if before is not None and not renew and holds(targets, name, before):
            return
        artifacts = artifacts_of(name, before.signed) if before is not None else ()
    draft = drafting.draft_channel(
        settings.channels[name], artifacts, before.signed if before is not None else None, now
    )
    staging.put_channel(name, Metadata(draft), drafting.draft_manifests(name, draft, artifacts))
