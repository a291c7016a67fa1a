"""The client's side: what a pinned root of trust makes of what strangers serve."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from plasm_fetching.artifact import Artifact
from plasm_fetching.http import Absent

from plasm_trust import layout
from plasm_trust.channels import artifact_at, artifacts_of
from plasm_trust.clock import Clock
from plasm_trust.parsing import MAX_BYTES, parse_root
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.updater import PinnedUpdater
from plasm_trust.whole_files import read_capped, write_new

__all__ = ["PINNED", "Read", "Reason", "TrustClient", "TrustRefused", "pin"]

PINNED: Final = "pinned.root.json"
"""The file in a client's folder that everything is believed from."""

Read = Callable[[str, int], bytes]
"""``read(url, max_bytes)``: one small file, whole. Raises :exc:`plasm_fetching.http.FetchError`."""

_MEND = "get the publisher's root.json by a way that you trust, and name it with --root"


def _now() -> datetime:
    return datetime.now(UTC)


def pin(folder: Path, root: bytes) -> str:
    """Make `root`, a repository's root metadata, the one that `folder` trusts from now on.

    Returns its fingerprint: the SHA-256 of its bytes, in hexadecimal. Pinning the same root again is fine. Raises
    :exc:`TrustRefused` where another one is pinned or `root` is not signed by itself, or :exc:`OSError`.
    """
    parse_root(root)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write_new(folder / PINNED, root)
    except FileExistsError:
        pinned = read_capped(folder / PINNED, MAX_BYTES["root"])
        if pinned != root:
            raise TrustRefused(
                Reason.OTHER_ROOT,
                f"another root is pinned in {folder} (SHA-256 {hashlib.sha256(pinned).hexdigest()})",
                "if the publisher really began anew, move that folder away",
            ) from None
    return hashlib.sha256(root).hexdigest()


class TrustClient:
    """What is signed under the root that is pinned in `folder`. Not for two threads or processes at once.

    `read` fetches metadata; `now` is the machine's clock, which may be wrong; `build_time` is a time that has passed
    for certain, such as when the software was built. Raises :exc:`TrustRefused` (``not_pinned``) without a root.
    """

    clock_note: str | None
    """What to tell people where the clock is before a time that is known to have passed; else ``None``."""

    def __init__(
        self, folder: Path, read: Read, *, now: Callable[[], datetime] = _now, build_time: datetime | None = None
    ) -> None:
        try:
            self._root = read_capped(folder / PINNED, MAX_BYTES["root"])
        except FileNotFoundError:
            raise TrustRefused(Reason.NOT_PINNED, f"no root of trust is pinned in {folder}", _MEND) from None
        self.pinned_version = parse_root(self._root, PINNED).version
        """Of the root that everything follows from."""
        self.read: Read = read
        self._state = folder / "metadata"
        self._now = now
        self._build_time = build_time
        self._updater: PinnedUpdater | None = None
        self.clock_note = None

    def refresh(self, base_url: str) -> None:
        """Take the newest metadata from the provider at `base_url`.

        Raises :exc:`TrustRefused`, or :exc:`plasm_fetching.http.FetchError` where the provider does not answer. What
        this object believed before stands then.
        """
        self._updater = self._refreshed(layout.metadata_url(base_url), self.read)

    def artifact(self, path: str) -> Artifact:
        """What is signed under the target path `path`.

        After :meth:`refresh` the same provider is asked for what is missing, and this raises as it does. Before, only
        what was kept from an earlier time counts: raises :exc:`TrustRefused` where that has expired or is not enough.
        """
        try:
            wanted = layout.target_path(path)
        except layout.BadName as error:
            raise TrustRefused(Reason.WRONG_TARGET, str(error)) from None
        return artifact_at(wanted.channel, self._opened().role(wanted.channel), str(wanted))

    def artifacts(self, channel: str, arch: str) -> tuple[Artifact, ...]:
        """All that is signed for `channel` and `arch`, by name; raises as :meth:`artifact`."""
        try:
            prefix = f"{layout.channel_name(channel)}/{layout.arch_name(arch)}/"
        except layout.BadName as error:
            raise TrustRefused(Reason.WRONG_TARGET, str(error)) from None
        signed = artifacts_of(channel, self._opened().role(channel))
        return tuple(artifact for artifact in signed if artifact.path.startswith(prefix))

    def channels(self) -> tuple[str, ...]:
        """The channels of this repository; raises as :meth:`artifact`."""
        return tuple(name for name in self._opened().roles() if layout.is_channel(name))

    def load(self, channel: str) -> None:
        """Have the metadata of `channel` kept here, whatever it holds; raises as :meth:`artifact`."""
        self._opened().role(channel)

    def kept(self, role: str) -> bytes:
        """The metadata of `role` (``timestamp``, ``stable``) that is kept here, as it came. Raises :exc:`OSError`."""
        name = role if role in layout.ROLES else layout.channel_name(role)
        return read_capped(self._state / f"{name}.json", max(MAX_BYTES.values()))

    def kept_root(self, version: int) -> bytes:
        """The root of that version that is kept here, as it came. Raises :exc:`OSError`."""
        return read_capped(self._state / "root_history" / f"{int(version)}.root.json", MAX_BYTES["root"])

    def _opened(self) -> PinnedUpdater:
        if self._updater is None:
            self._updater = self._refreshed("kept:", self._read_kept)
        return self._updater

    def _refreshed(self, metadata_url: str, read: Read) -> PinnedUpdater:
        clock = Clock(self._now)
        clock.saw(self._build_time, "when this software was built")
        self._state.mkdir(mode=0o700, exist_ok=True)
        try:
            updater = PinnedUpdater(self._state, metadata_url, root=self._root, read=read, clock=clock)
            updater.refresh()
        finally:
            self.clock_note = clock.note()
        return updater

    def _read_kept(self, url: str, max_bytes: int) -> bytes:
        """In place of a provider: what is kept is the newest there is."""
        name = url.rpartition("/")[2]
        if name.endswith(".root.json"):
            raise Absent(f"{name} is not kept here")
        try:
            if name == "timestamp.json":
                return read_capped(self._state / name, max_bytes)
        except FileNotFoundError:
            pass
        raise TrustRefused(
            Reason.INCOMPLETE, f"nothing that is kept here says what is signed: {name} is missing", "ask a provider"
        )
