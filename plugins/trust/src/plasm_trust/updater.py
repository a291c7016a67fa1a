"""The client's workflow of TUF 1.0 (section 5), as python-tuf's ngclient does it.

What ngclient leaves open is filled in here and nowhere else: HTTP, a clock that knows better, files that are on disk
when they are said to be, an absolute cap on each file, and a reason for each refusal. This is the only module that
touches ngclient's inner parts; the distribution pins python-tuf's major version for it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from plasm_fetching.http import Absent, FetchError, TooMuch
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError, SerializationError
from tuf.ngclient import FetcherInterface, Updater  # type: ignore[attr-defined]

from plasm_trust import parsing
from plasm_trust.clock import Clock, in_words, signed_at
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.tufapi import Metadata, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from plasm_trust.whole_files import read_capped, temporary_beside, write_whole

_LARGEST: Final = max(parsing.MAX_BYTES.values())


class Fetcher(FetcherInterface):
    """HTTP for ngclient: ``read(url, max_bytes)`` does it."""

    def __init__(self, read: Callable[[str, int], bytes]) -> None:
        self._read = read
        self.failure: FetchError | None = None
        """What kept the last file from coming."""
        self.last = b""
        """The last file that came."""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        # What metadata says of another's length is believed up to a cap: an online key may be in wrong hands.
        most = min(max_length, _LARGEST)
        try:
            data = self._read(url, most)
        except TooMuch as error:
            raise DownloadLengthMismatchError(str(error)) from error
        except FetchError as error:
            self.failure = error
            if isinstance(error, Absent):
                raise DownloadHTTPError(str(error), 404) from error
            raise DownloadError(str(error)) from error
        if len(data) > most:
            raise DownloadLengthMismatchError(f"{url} has more than {most} bytes")
        self.last = data
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError("targets are fetched by plasm_fetching")


class PinnedUpdater(Updater):
    """One refresh from one provider, with the lookups after it.

    `folder` keeps what was verified, under unversioned names (``timestamp.json``), roots under ``root_history``. Each
    method raises :exc:`TrustRefused`, :exc:`FetchError` or :exc:`OSError`.
    """

    def __init__(
        self, folder: Path, metadata_url: str, *, root: bytes, read: Callable[[str, int], bytes], clock: Clock
    ) -> None:
        self._own_fetcher = Fetcher(read)
        self.clock = clock
        with self._refusing(Root.type):
            super().__init__(str(folder), metadata_url, fetcher=self._own_fetcher, bootstrap=root)

    def role(self, name: str) -> Targets:
        """What the delegated role `name` has signed; fetched where it is not kept here."""
        if Snapshot.type not in self._trusted_set:
            self.refresh()
        delegations = self._trusted_set.targets.delegations
        if delegations is None or delegations.roles is None or name not in delegations.roles:
            raise TrustRefused(Reason.WRONG_TARGET, f"there is no channel {name!r} in this repository")
        return self._load_targets(name, Targets.type)

    def roles(self) -> tuple[str, ...]:
        """The names of the delegated roles, after a refresh."""
        delegations = self._trusted_set.targets.delegations
        return tuple(delegations.roles) if delegations is not None and delegations.roles is not None else ()

    def target_url(self, base_url: str, target: TargetFile) -> str:
        """Where the file of `target` is below `base_url`, in a repository with consistent snapshots or without."""
        path = target.get_prefixed_paths()[0] if self._trusted_set.root.consistent_snapshot else target.path
        return f"{base_url.rstrip('/')}/{path}"

    @staticmethod
    def file_name(target: TargetFile) -> str:
        """A name for the file of `target` that is the same for each of its versions, and names no other folder."""
        return quote(target.path, "")

    # --- the steps of a refresh, each with its reasons ---

    def _load_root(self) -> None:
        with self._refusing(Root.type):
            super()._load_root()
        root = self._trusted_set.root
        self._saw(root, f"when root {root.version} was signed")
        self._look_at_kept(Timestamp)
        self._look_at_kept(Snapshot)
        self._look_at_kept(Targets)

    def _look_at_kept(self, kind: type[parsing.T]) -> None:
        # Only what the newest root's keys have signed proves a time: whoever stole older keys may have signed any.
        name = f"{kind.type}.json"
        with contextlib.suppress(OSError, TrustRefused):
            kept = parsing.parse(kind, self._load_local_metadata(kind.type), name)
            parsing.check_signed(self._trusted_set.root, kind.type, kept, name)
            self._saw(kept.signed, f"when {kind.type} {kept.signed.version} was signed")

    def _load_timestamp(self) -> None:
        with self._refusing(Timestamp.type):
            super()._load_timestamp()
            timestamp = self._trusted_set.timestamp
            self._saw(timestamp, f"when timestamp {timestamp.version} was signed")
            # Where the one that is kept is the newest, ngclient sees it only after it has fetched a snapshot.
            if timestamp.is_expired(self._trusted_set.reference_time):
                raise ExpiredMetadataError

    def _load_snapshot(self) -> None:
        with self._refusing(Snapshot.type):
            super()._load_snapshot()

    def _load_targets(self, role: str, parent_role: str) -> Targets:
        with self._refusing(role):
            return super()._load_targets(role, parent_role)

    def _saw(self, signed: Signed, what: str) -> None:
        # Beyond the root's own end nobody can have signed anything: whoever says so has a clock that is ahead.
        time = signed_at(signed)
        self.clock.saw(time if time is not None and time < self._trusted_set.root.expires else None, what)
        self._trusted_set.reference_time = self.clock.time()

    # --- files ---

    def _load_local_metadata(self, rolename: str) -> bytes:
        return read_capped(Path(self._dir, f"{quote(rolename, '')}.json"), _LARGEST)

    def _persist_file(self, filename: str, data: bytes) -> None:
        write_whole(Path(filename), data)

    def _update_root_symlink(self) -> None:
        # ngclient removes the link before it makes it anew: who is killed in between has no root.
        link = Path(self._dir, "root.json")
        temporary = temporary_beside(link)
        temporary.symlink_to(Path("root_history", f"{self._trusted_set.root.version}.root.json"))
        os.replace(temporary, link)

    # --- reasons ---

    @contextlib.contextmanager
    def _refusing(self, role: str) -> Iterator[None]:
        name = f"{role}.json"
        try:
            yield
        except (TrustRefused, FetchError, OSError):
            raise
        except DownloadLengthMismatchError as error:
            raise TrustRefused(Reason.ENDLESS_DATA, f"{name}: {error}") from None
        except DownloadError as error:
            raise self._own_fetcher.failure or error from None
        except ExpiredMetadataError:
            raise self._expired(role) from None
        except UnsignedMetadataError as error:
            reason = Reason.WRONG_ROLE if self._signed_by_others(role) else Reason.BAD_SIGNATURE
            raise TrustRefused(reason, f"{name}: {error}") from None
        except LengthOrHashMismatchError as error:
            raise TrustRefused(Reason.MIX_AND_MATCH, f"{name} is not what belongs to the rest: {error}") from None
        except BadVersionNumberError as error:
            raise TrustRefused(self._which_version(role), f"{name}: {error}") from None
        except (DeserializationError, SerializationError) as error:
            raise TrustRefused(Reason.MALFORMED, f"{name} is not TUF metadata: {error}") from None
        except RepositoryError as error:
            raise TrustRefused(self._which_fault(role), f"{name}: {error}") from None
        # The library lets what it met inside hostile bytes come through; whatever it is, nothing of them is used.
        except Exception as error:
            raise TrustRefused(Reason.MALFORMED, f"{name}: {type(error).__name__}: {error}") from None

    def _arrived(self) -> Metadata[Any] | None:
        """The last file that came, unverified: good for nothing but to say what is wrong with it."""
        try:
            return Metadata[Any].from_bytes(self._own_fetcher.last)
        except DeserializationError:
            return None

    def _signed_by_others(self, role: str) -> bool:
        """Whether what came is signed by keys that are known here, and none of which may sign as `role`."""
        arrived, root = self._arrived(), self._trusted_set.root
        if arrived is None:
            return False
        allowed, known = set(root.roles[role].keyids) if role in root.roles else set(), dict(root.keys)
        delegations = self._trusted_set.targets.delegations if Targets.type in self._trusted_set else None
        if delegations is not None:
            known |= delegations.keys
            allowed |= set((delegations.roles or {})[role].keyids) if role in (delegations.roles or {}) else set()
        for key_id, signature in arrived.signatures.items():
            with contextlib.suppress(Exception):
                known[key_id].verify_signature(signature, arrived.signed_bytes)
                return key_id not in allowed
        return False

    def _which_version(self, role: str) -> Reason:
        """Whether a version that is not the one that must be is older, or another than the rest names."""
        if role in (Root.type, Timestamp.type):
            return Reason.ROLLBACK
        arrived = self._arrived()
        if role == Snapshot.type and arrived is not None:
            # One that is what the timestamp names can only name something older itself.
            named = self._trusted_set.timestamp.snapshot_meta.version
            return Reason.ROLLBACK if arrived.signed.version == named else Reason.MIX_AND_MATCH
        return Reason.MIX_AND_MATCH

    def _which_fault(self, role: str) -> Reason:
        expected = role if role in (Root.type, Timestamp.type, Snapshot.type) else Targets.type
        if expected == Targets.type and f"{role}.json" not in self._trusted_set.snapshot.meta:
            return Reason.MIX_AND_MATCH
        arrived = self._arrived()
        if arrived is not None and arrived.signed.type != expected:
            return Reason.WRONG_ROLE
        # A role that a snapshot named once, and a newer one does not.
        return Reason.ROLLBACK if role == Snapshot.type else Reason.MALFORMED

    def _expired(self, role: str) -> TrustRefused:
        now, held = self._trusted_set.reference_time, self._trusted_set
        suspects: list[Signed] = [held[kind] for kind in (Root.type, Timestamp.type, Snapshot.type) if kind in held]
        if (arrived := self._arrived()) is not None:
            suspects.append(arrived.signed)
        late = [each for each in suspects if each.is_expired(now)]
        what = f"{late[0].type} {late[0].version} expired on {in_words(late[0].expires)}" if late else f"{role} expired"
        return TrustRefused(
            Reason.FROZEN,
            f"{what}, and by the clock it is {in_words(now)}: what is served is out of date, or the clock is wrong",
            "check the date of this machine; if it is right, ask another provider",
        )
