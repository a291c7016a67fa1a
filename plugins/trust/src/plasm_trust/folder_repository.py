"""A repository for a plain folder of artifacts, kept by whoever serves it, without a word to anyone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from plasm_fetching.artifact import Artifact

from plasm_trust import layout, settings
from plasm_trust.expiring import expiries, offline
from plasm_trust.hashing import FileIdentity, Progress, digest_file
from plasm_trust.keys import did_of
from plasm_trust.published import Published
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.repository import Repository
from plasm_trust.scanning import Scan
from plasm_trust.settings import Settings, role_settings
from plasm_trust.whole_files import read_capped, write_whole

if TYPE_CHECKING:
    from plasm.ports import Signer

__all__ = ["FolderSigned", "FolderSigners", "Progress", "sign_folder"]

_HASHED: Final = "hashed.json"
"""In the repository: which files have been hashed, as they were then."""
_MAX_HASHED_BYTES: Final = 16 * 2**20
_RACY_NS: Final = 2 * 10**9
"""A file that was written less than two seconds before it was hashed may change within one tick of its file system."""


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


class _Hashed(msgspec.Struct, frozen=True):
    identity: FileIdentity
    sha256: str


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
    these keys, :exc:`plasm.errors.PlasmError` while another process works on it, :exc:`plasm.ports.SignerError` or
    :exc:`OSError`.
    """
    scan = Scan(artifacts)
    refused = dict(scan.refused)
    before = _signed_before(repository)
    remembered = _remembered(repository)
    hashed: dict[str, _Hashed] = {}
    wanted: dict[str, Artifact] = {}
    for path, file in scan.found.items():
        try:
            wanted[path], identity = _artifact(path, file, before.get(path), remembered.get(path), progress)
        except OSError as error:
            refused[path] = f"cannot be signed: {error.strerror or error}"
            continue
        if identity.mtime_ns < time.time_ns() - _RACY_NS:
            hashed[path] = _Hashed(identity, wanted[path].sha256)
    published = _publish(repository, artifacts, signers, wanted, now)
    write_whole(repository / _HASHED, msgspec.json.encode(hashed))
    return FolderSigned(
        published=published,
        changed=tuple(path for path, artifact in wanted.items() if before.get(path) != artifact),
        removed=tuple(path for path in before if path not in wanted),
        refused=refused,
    )


def _signed_before(repository: Path) -> Mapping[str, Artifact]:
    try:
        return Published.load(repository).artifacts
    except FileNotFoundError:
        return {}
    except TrustRefused as error:
        if error.reason is Reason.INCOMPLETE:
            return {}
        raise


def _remembered(repository: Path) -> dict[str, _Hashed]:
    try:
        return msgspec.json.decode(read_capped(repository / _HASHED, _MAX_HASHED_BYTES), type=dict[str, _Hashed])
    except (OSError, msgspec.MsgspecError):
        # It saves time, and nothing else.
        return {}


def _artifact(
    path: str, file: Path, before: Artifact | None, remembered: _Hashed | None, progress: Progress | None
) -> tuple[Artifact, FileIdentity]:
    """The artifact that `file` is, hashed where it may be another than `before`."""
    identity = FileIdentity.of(file.lstat())
    if before is not None and remembered == _Hashed(identity, before.sha256):
        return before, identity
    digests, identity = digest_file(file, path, progress)
    artifact = Artifact(
        path=path,
        size=digests.size,
        sha256=digests.sha256,
        pieces=digests.pieces,
        kind=layout.kind_of(layout.target_path(path).name),
    )
    return artifact, identity


def _publish(
    folder: Path, artifacts: Path, signers: FolderSigners, wanted: Mapping[str, Artifact], now: datetime
) -> Published:
    by_channel: dict[str, list[Artifact]] = {}
    for artifact in wanted.values():
        by_channel.setdefault(layout.target_path(artifact.path).channel, []).append(artifact)
    with _opened(folder, _settings(artifacts, signers, by_channel), now) as repository:
        channels = repository.settings.channels
        changed = {
            name: by_channel.get(name, [])
            for name in channels
            if {each.path: each for each in repository.artifacts(name)}
            != {each.path: each for each in by_channel.get(name, [])}
        }
        published = repository.published
        due = (
            [each.role for each in expiries(repository.settings, published, repository.now) if each.due]
            if published
            else []
        )
        repository.stage(filter(offline, due), changed)
        repository.sign((signers.root, signers.channels))
        if repository.wanted() or due or published is None:
            repository.publish((signers.online,))
        return Published.load(folder)


@contextmanager
def _opened(folder: Path, wanted: Settings, now: datetime) -> Iterator[Repository]:
    if not (folder / settings.FILE).exists():
        with Repository.create(folder, wanted, now) as repository:
            yield repository
        return
    with Repository.open(folder, now) as repository:
        kept = repository.settings
        ours = [(kept.roles[role], own) for role, own in wanted.roles.items()]
        ours += [(kept.channels[name], own) for name, own in wanted.channels.items() if name in kept.channels]
        for role, own in ours:
            if role.keys != own.keys:
                raise TrustRefused(
                    Reason.OTHER_ROOT,
                    f"the repository in {folder} is signed with other keys than those that are at hand",
                    "bring the keys back, or move the repository away: clients must then pin its new root",
                )
        # What was set by hand stays; a folder that moved and channels that are new are followed.
        merged = msgspec.structs.replace(
            kept,
            artifacts=wanted.artifacts,
            channels={**wanted.channels, **kept.channels},
            keys={**kept.keys, **wanted.keys},
        )
        if merged != kept:
            repository.configure(merged)
        yield repository


def _settings(artifacts: Path, signers: FolderSigners, channels: Mapping[str, object]) -> Settings:
    root, own, online = (did_of(each.public_key) for each in (signers.root, signers.channels, signers.online))
    keys = {"root": root, "targets": root, "snapshot": online, "timestamp": online}
    return Settings(
        artifacts=str(artifacts.absolute()),
        keys=dict.fromkeys((root, own, online), ""),
        roles={role: role_settings(role, (did,)) for role, did in keys.items()},
        channels={name: role_settings(name, (own,)) for name in sorted(channels)},
    )
