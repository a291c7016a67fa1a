"""Keeping a repository fresh, with the online keys alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from plasm_trust.published import Published
from plasm_trust.repository import Repository

if TYPE_CHECKING:
    from plasm.ports import Signer


def renew(folder: Path, signers: Sequence[Signer], now: datetime) -> Published:
    """Sign the timestamp of the repository in `folder` anew, and the snapshot where it is about to expire.

    What waits there and is signed by all who must is published with them. `signers` are online keys; others among
    them are not used. Raises :exc:`plasm_trust.refusal.TrustRefused` where they are not those of the repository,
    :exc:`plasm.errors.PlasmError` where it cannot be worked on, :exc:`plasm.ports.SignerError` or :exc:`OSError`.
    """
    with Repository.open(folder, now) as repository:
        repository.publish(signers)
        return Published.load(folder)
