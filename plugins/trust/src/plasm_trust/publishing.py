"""From what was chosen to what is served: snapshot and timestamp, then the files in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plasm_trust import drafting, layout, manifest
from plasm_trust.channels import artifacts_of
from plasm_trust.choosing import Choice, holds
from plasm_trust.hashing import digest_file
from plasm_trust.installing import Manifests, install, manifest_folder
from plasm_trust.keyids import key_id
from plasm_trust.keys import sign
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.tufapi import Metadata, Root
from plasm_trust.verifying import TIMESTAMP, VerifiedMetadata, root_file
from plasm_trust.whole_files import name_again, read_capped, sync_folder

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact

    from plasm.ports import Signer
    from plasm_trust.settings import Settings
    from plasm_trust.staging import Staging


def publish(
    folder: Path,
    settings: Settings,
    staging: Staging,
    choice: Choice,
    before: VerifiedMetadata | None,
    signers: Sequence[Signer],
    now: datetime,
) -> None:
    """Publish `choice` in place of `before`, signed with the online keys among `signers`.

    Raises :exc:`TrustRefused` where they are not enough or an artifact's content is missing, and then nothing has
    changed; :exc:`plasm.ports.SignerError` or :exc:`OSError`.
    """
    artifacts = [each for name, channel in choice.channels.items() for each in artifacts_of(name, channel.signed)]
    _check_content(folder, settings, staging, artifacts)
    files = _signed_files(settings, choice, before, signers, now)
    if not settings.artifacts:
        _place_content(folder, staging, artifacts)
    install(folder, files, _manifests(folder, choice))
    if not settings.artifacts:
        _name_plainly(folder / layout.TARGETS, artifacts, before)


def sign_online(root: Root, role: str, metadata: Metadata[Any], signers: Sequence[Signer]) -> None:
    """Sign `metadata` with the keys among `signers` that are `role`'s. Raises :exc:`TrustRefused` if too few are."""
    for signer in signers:
        if key_id(signer.public_key) in root.roles[role].keyids:
            sign(metadata, signer)
    if not holds(root, role, metadata):
        raise TrustRefused(
            Reason.BAD_SIGNATURE,
            f"the online keys that sign the {role} are not at hand: {root.roles[role].threshold} needed",
            "do it where they are",
        )


def _signed_files(
    settings: Settings, choice: Choice, before: VerifiedMetadata | None, signers: Sequence[Signer], now: datetime
) -> dict[str, bytes]:
    root = choice.root.signed
    files = dict(before.files) if before is not None else {}
    named = {}
    for name, metadata in (("targets", choice.targets), *choice.channels.items()):
        version = metadata.signed.version
        data = metadata.to_bytes() if name in choice.new else files[f"{version}.{name}.json"]
        files[f"{version}.{name}.json"] = data
        named[f"{name}.json"] = (version, data)
    if "root" in choice.new:
        files[root_file(root.version)] = choice.root.to_bytes()
    version, data = _kept_snapshot(settings, choice, before, now) or _new_snapshot(
        settings, root, before, named, signers, now
    )
    timestamp = Metadata(drafting.draft_timestamp(settings, before.timestamp if before else None, (version, data), now))
    sign_online(root, "timestamp", timestamp, signers)
    return files | {f"{version}.snapshot.json": data, TIMESTAMP: timestamp.to_bytes()}


def _kept_snapshot(
    settings: Settings, choice: Choice, before: VerifiedMetadata | None, now: datetime
) -> tuple[int, bytes] | None:
    """The snapshot that is published, where it still names what holds, and will for a while."""
    if before is None or choice.new - {"root"} or before.refused:
        return None
    version = before.snapshot.version
    data = before.files[f"{version}.snapshot.json"]
    warning = timedelta(days=settings.roles["snapshot"].warning_days)
    fresh = before.snapshot.expires - now > warning
    return (version, data) if fresh and holds(choice.root.signed, "snapshot", Metadata.from_bytes(data)) else None


def _new_snapshot(
    settings: Settings,
    root: Root,
    before: VerifiedMetadata | None,
    named: dict[str, tuple[int, bytes]],
    signers: Sequence[Signer],
    now: datetime,
) -> tuple[int, bytes]:
    snapshot = Metadata(drafting.draft_snapshot(settings, before.snapshot if before else None, named, now))
    sign_online(root, "snapshot", snapshot, signers)
    return snapshot.signed.version, snapshot.to_bytes()


def _manifests(folder: Path, choice: Choice) -> Manifests:
    found: dict[tuple[str, str], tuple[int, bytes]] = {}
    for name, channel in choice.channels.items():
        version = channel.signed.version
        if name in choice.manifests:
            for arch, document in choice.manifests[name].items():
                found[name, arch] = (version, manifest.encode(document))
            continue
        for arch in {layout.target_path(each.path).arch for each in artifacts_of(name, channel.signed)}:
            path = manifest_folder(folder, name, arch) / f"{version}.{layout.MANIFEST}"
            if path.exists():
                found[name, arch] = (version, read_capped(path, manifest.MAX_BYTES))
    return found


def _check_content(folder: Path, settings: Settings, staging: Staging, artifacts: Iterable[Artifact]) -> None:
    places = [Path(settings.artifacts)] if settings.artifacts else [staging.artifacts, folder / layout.TARGETS]
    for artifact in artifacts:
        if all(layout.artifact_file(place, artifact) is None for place in places):
            raise TrustRefused(
                Reason.INCOMPLETE,
                f"the content of {artifact.path} is not here",
                "copy it into staged/targets, or add it",
            )


def _place_content(folder: Path, staging: Staging, artifacts: Iterable[Artifact]) -> None:
    targets = folder / layout.TARGETS
    for artifact in artifacts:
        waiting, target = staging.artifact_path(artifact), targets / layout.hashed_name(artifact)
        if waiting.exists():
            # It may have come from another machine, and is not looked at again before a client does.
            digests, _ = digest_file(waiting, artifact.path)
            if digests.sha256 != artifact.sha256:
                raise TrustRefused(
                    Reason.WRONG_TARGET, f"the content of {artifact.path} is not what was signed", f"remove {waiting}"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            waiting.replace(target)
            sync_folder(target.parent)
        elif not target.exists():
            # A copy of the repository may have come without the names that hold a hash.
            name_again(targets / artifact.path, target)


def _name_plainly(targets: Path, artifacts: Iterable[Artifact], before: VerifiedMetadata | None) -> None:
    """Give what is published its plain name too, and remove what neither this state nor the last one holds."""
    wanted = set()
    for artifact in artifacts:
        hashed, plain = targets / layout.hashed_name(artifact), targets / artifact.path
        wanted |= {hashed, plain}
        if not _same_content(hashed, plain):
            name_again(hashed, plain)
    for name, channel in before.channels.items() if before is not None else ():
        wanted |= {targets / layout.hashed_name(each) for each in artifacts_of(name, channel)}
    for path in targets.glob("*/*/*"):
        if path not in wanted:
            path.unlink(missing_ok=True)


def _same_content(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False
