"""What the role of a channel says: the artifacts under its own paths, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plasm_trust import layout
from plasm_trust.custom import artifact_of
from plasm_trust.refusal import Reason, TrustRefused

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact

    from plasm_trust.tufapi import Targets


def check_own(channel: str, targets: Targets) -> None:
    """Raises :exc:`TrustRefused` (``wrong_role``) where `targets`, which `channel` signed, speaks of other channels."""
    for path in targets.targets:
        if not path.startswith(f"{channel}/"):
            raise TrustRefused(Reason.WRONG_ROLE, f"the keys of {channel} have signed {path[:200]}, and may not")


def artifacts_of(channel: str, targets: Targets) -> tuple[Artifact, ...]:
    """All that `channel` has signed, by path.

    A path that is no ``CHANNEL/ARCH/NAME`` is passed over: later publishers may have more architectures. Raises
    :exc:`TrustRefused` where another is not signed as it must be.
    """
    check_own(channel, targets)
    return tuple(artifact_of(path, targets.targets[path]) for path in sorted(targets.targets) if _is_path(path))


def artifact_at(channel: str, targets: Targets, path: str) -> Artifact:
    """What `channel` has signed at `path`. Raises :exc:`TrustRefused`."""
    check_own(channel, targets)
    if path not in targets.targets:
        raise TrustRefused(Reason.WRONG_TARGET, f"{path} is not signed in this repository")
    return artifact_of(path, targets.targets[path])


def _is_path(text: str) -> bool:
    try:
        return str(layout.target_path(text)) == text
    except layout.BadName:
        return False
