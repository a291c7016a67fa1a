"""The publisher's repository: what is to be said is drafted, signed by one after the other, and published at once.

Every change goes the same way. Settings and artifacts say what is wanted; a draft of each role that differs is staged;
those who hold keys sign it, on whatever machine; and when enough have signed, whoever has the online keys publishes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from plasm_fetching.artifact import Artifact

from plasm.errors import PlasmError, printable
from plasm_trust import layout, settings
from plasm_trust.channels import artifacts_of
from plasm_trust.choosing import Choice, Current, choose, current_of
from plasm_trust.clock import signed_at
from plasm_trust.hashing import Progress, copy_file
from plasm_trust.published import read_repository
from plasm_trust.publishing import publish
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.settings import Settings
from plasm_trust.signing import Added, Wanted, add_signatures, wanted_signatures
from plasm_trust.staging import Staging
from plasm_trust.updating import stage_drafts
from plasm_trust.verifying import VerifiedMetadata
from plasm_trust.whole_files import sweep

if TYPE_CHECKING:
    from plasm.ports import Signer

_LOCK = ".lock"


class RepositoryUnusable(PlasmError):
    """The folder cannot be worked on now."""


class Repository:
    """A repository in a folder, which this object has to itself while it is open.

    Every method may raise :exc:`TrustRefused` where what is in the folder cannot be believed, and :exc:`OSError`.
    """

    def __init__(self, folder: Path, wanted: Settings, clock: datetime) -> None:
        """Use :meth:`open` or :meth:`create`."""
        self.folder = folder
        self.settings = wanted
        self.staging = Staging(folder)
        _check_no_links(folder)
        sweep(folder)
        self.published: VerifiedMetadata | None = read_published(folder)
        if self.published is not None and self.published.refused:
            # Drafts would begin anew at version 1, which no client takes after a later one.
            name, why = next(iter(self.published.refused.items()))
            raise RepositoryUnusable(
                f"the metadata of {name} is damaged: {why}", "bring the file back from a copy or a mirror"
            )
        self.now = _at_least(clock, self.published)
        """The time at which drafts are made: never before the newest that was signed."""
        self._drop_outdated()

    @classmethod
    @contextmanager
    def open(cls, folder: Path, now: datetime) -> Iterator[Repository]:
        """The repository in `folder`.

        Raises :exc:`plasm_trust.settings.SettingsError` where there is none, and :exc:`RepositoryUnusable` while
        another process has it.
        """
        wanted = settings.load(folder)
        with _locked(folder):
            yield cls(folder, wanted, now)

    @classmethod
    @contextmanager
    def create(cls, folder: Path, wanted: Settings, now: datetime) -> Iterator[Repository]:
        """A new repository in `folder`; its first metadata is staged, to be signed.

        Raises :exc:`plasm_trust.settings.SettingsError`, or :exc:`RepositoryUnusable` where there is one already.
        """
        settings.check(wanted)
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if (folder / settings.FILE).exists() or (folder / layout.METADATA).exists():
                raise RepositoryUnusable(f"there is a repository in {folder} already", "name another folder")
            settings.save(folder, wanted)
            repository = cls(folder, wanted, now)
            repository.stage()
            yield repository

    # --- what is wanted ---

    def configure(self, wanted: Settings) -> None:
        """Want something else, and stage what that takes. Raises :exc:`plasm_trust.settings.SettingsError`."""
        settings.save(self.folder, wanted)
        self.settings = wanted
        self.stage()

    def stage(self, renewed: Iterable[str] = (), artifacts: Mapping[str, Sequence[Artifact]] | None = None) -> None:
        """Stage a draft of each role that is not as it is wanted.

        `renewed` names roles that get a new version even so, to hold longer; `artifacts` gives channels new content.
        """
        stage_drafts(self.settings, self.staging, self.current(), frozenset(renewed), dict(artifacts or {}), self.now)

    def add(
        self,
        path: str,
        file: Path,
        *,
        kind: str | None = None,
        version: str = "",
        cmdline: str = "",
        progress: Progress | None = None,
    ) -> Artifact:
        """Stage `file` as the artifact at `path` (``CHANNEL/ARCH/NAME``); its content is copied.

        Raises :exc:`plasm_trust.layout.BadName` or :exc:`TrustRefused` where it cannot be signed so.
        """
        target = layout.target_path(path)
        self._check_channel(target.channel)
        if self.settings.artifacts:
            raise RepositoryUnusable(
                f"the artifacts of this repository are in {self.settings.artifacts}", "put the file there"
            )
        waiting = self.staging.artifacts / target.channel / target.arch / f"{target.name}.coming"
        digests = copy_file(file, waiting, str(target), progress)
        artifact = Artifact(
            path=str(target),
            size=digests.size,
            sha256=digests.sha256,
            pieces=digests.pieces,
            kind=layout.kind_of(target.name) if kind is None else kind,
            version=version,
            cmdline=cmdline,
        )
        waiting.replace(self.staging.artifact_path(artifact))
        others = [each for each in self.artifacts(target.channel) if each.path != artifact.path]
        self.stage(artifacts={target.channel: [*others, artifact]})
        return artifact

    def remove(self, path: str) -> None:
        """Stage that there is no artifact at `path` any more. Raises as :meth:`add`."""
        target = layout.target_path(path)
        self._check_channel(target.channel)
        there = self.artifacts(target.channel)
        others = [each for each in there if each.path != str(target)]
        if len(others) == len(there):
            raise TrustRefused(Reason.WRONG_TARGET, f"there is no {target} in this repository")
        self.stage(artifacts={target.channel: others})

    def artifacts(self, channel: str) -> tuple[Artifact, ...]:
        """What `channel` is to hold: what is staged, else what is published."""
        if (staged := self.staging.targets(channel)) is not None:
            return artifacts_of(channel, staged.signed)
        published = self.published.channels.get(channel) if self.published is not None else None
        return artifacts_of(channel, published) if published is not None else ()

    # --- signing and publishing ---

    def wanted(self) -> tuple[Wanted, ...]:
        """What is staged, and how far its signing is."""
        return wanted_signatures(self.staging, self.current())

    def sign(self, signers: Sequence[Signer], roles: Iterable[str] | None = None) -> tuple[Added, ...]:
        """Add the signatures of `signers` to what is staged, of `roles` or all of it; nothing is published.

        Raises :exc:`plasm.ports.SignerError`.
        """
        chosen = [each.role for each in self.wanted()] if roles is None else roles
        return add_signatures(self.staging, self.current(), signers, chosen, self.now)

    def choice(self) -> Choice | None:
        """What the next publication would be made of; ``None`` where not enough is signed for a first one."""
        return choose(self.staging, self.current())

    def publish(self, signers: Sequence[Signer]) -> VerifiedMetadata:
        """Publish what is signed as it must be, with the online keys among `signers`, and a new timestamp in any case.

        Raises :exc:`TrustRefused` where that cannot be, and then what was published stands;
        :exc:`plasm.ports.SignerError`.
        """
        choice = self.choice()
        if choice is None:
            raise TrustRefused(
                Reason.BAD_SIGNATURE, "nothing can be published before enough keys have signed", "plasm repo status"
            )
        publish(self.folder, self.settings, self.staging, choice, self.published, signers, self.now)
        self.published = read_published(self.folder)
        self._drop_outdated()
        assert self.published is not None
        return self.published

    def current(self) -> Current:
        """What is published, with its signatures."""
        return current_of(self.published)

    def _check_channel(self, name: str) -> None:
        if name not in self.settings.channels:
            raise TrustRefused(
                Reason.WRONG_TARGET, f"there is no channel {name!r} in this repository", "plasm repo channel adds one"
            )

    def _drop_outdated(self) -> None:
        """Forget drafts that do not follow what is published: they are published already, or somebody was faster."""
        versions = self.published.versions() if self.published is not None else {}
        staged = {"root": self.staging.root(), "targets": self.staging.targets("targets")}
        staged |= {name: self.staging.targets(name) for name in self.staging.channels()}
        for role, metadata in staged.items():
            if metadata is not None and metadata.signed.version != versions.get(role, 0) + 1:
                self.staging.drop(role)
        wanted = {
            layout.hashed_name(artifact)
            for name in self.staging.channels()
            if (metadata := self.staging.targets(name)) is not None
            for artifact in artifacts_of(name, metadata.signed)
        }
        self.staging.clean(frozenset(wanted))


def _check_no_links(folder: Path) -> None:
    # The folder may come from elsewhere, and files in it that are no longer wanted are removed.
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if Path(parent, name).is_symlink():
                raise RepositoryUnusable(
                    f"{printable(str(Path(parent, name)))} is a symbolic link", "a repository has none: remove it"
                )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RepositoryUnusable(
                f"another process is at work in the repository {folder}", "try again when it has ended"
            ) from None
        yield
    finally:
        os.close(descriptor)


def read_published(folder: Path) -> VerifiedMetadata | None:
    """What is published in `folder`; ``None`` before the first publication. Raises :exc:`TrustRefused`."""
    try:
        return read_repository(folder)
    except TrustRefused as error:
        if error.reason is Reason.INCOMPLETE and not (folder / layout.METADATA / "timestamp.json").exists():
            return None
        raise


def _at_least(clock: datetime, published: VerifiedMetadata | None) -> datetime:
    times = [clock.astimezone(UTC)]
    if published is not None:
        signed = (
            published.root,
            published.timestamp,
            published.snapshot,
            published.targets,
            *published.channels.values(),
        )
        times += [time for each in signed if (time := signed_at(each)) is not None]
    return max(times)
