"""A repository for a plain folder of artifacts, kept by whoever serves it, without a word to anyone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from plasm_trust.published import Published

if TYPE_CHECKING:
    from plasm.ports import Signer

Progress = Callable[[str, int, int], None]
"""``progress(path, done, total)``: bytes of one artifact that have been hashed."""


@dataclass(frozen=True, kw_only=True)
class FolderSigners:
    """The keys of a repository that one machine keeps alone; they may be one and the same."""

    root: Signer
    """Signs root and targets: who may sign what."""
    channels: Signer
    """Signs every channel and its manifests: what may be booted."""
    online: Signer
    """Signs snapshot and timestamp: that it is fresh."""


@dataclass(frozen=True, kw_only=True)
class FolderSigned:
    """What came of :func:`sign_folder`."""

    published: Published
    changed: tuple[str, ...]
    """Target paths that were added or have another content."""
    removed: tuple[str, ...]
    refused: Mapping[str, str]
    """Path below the folder → why it is not signed: a symbolic link, a name that is none."""


def sign_folder(
    repository: Path,
    artifacts: Path,
    signers: FolderSigners,
    now: datetime,
    progress: Progress | None = None,
) -> FolderSigned:
    """Sign what the folder `artifacts` (``CHANNEL/ARCH/NAME``) holds now, in a repository that is made where missing.

    Files that have not changed since the last call are not hashed again; where nothing has changed, only what is
    about to expire is signed anew. Raises :exc:`plasm_trust.refusal.TrustRefused` where the repository is not one of
    these keys, :exc:`plasm.ports.SignerError` or :exc:`OSError`.
    """
    raise NotImplementedError
