"""What a repository, or a mirror's copy of one, offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact


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

    @classmethod
    def load(cls, folder: Path) -> Published:
        """Read and verify what is in ``metadata`` and ``manifests`` below `folder`; no artifact is read.

        What has expired is loaded: `expires` tells. Raises :exc:`plasm_trust.refusal.TrustRefused`.
        """
        raise NotImplementedError
