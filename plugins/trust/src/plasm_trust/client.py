"""The client's side: what a pinned root of trust makes of what strangers serve."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from plasm_trust.refusal import Reason, TrustRefused

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact

__all__ = ["Read", "Reason", "TrustClient", "TrustRefused", "pin"]

Read = Callable[[str, int], bytes]
"""``read(url, max_bytes)``: one small file, whole. Raises :exc:`plasm_fetching.http.FetchError`."""


def _now() -> datetime:
    return datetime.now(UTC)


def pin(folder: Path, root: bytes) -> str:
    """Make `root`, a repository's root metadata, the one that `folder` trusts from now on.

    Returns its fingerprint: the SHA-256 of its bytes, in hexadecimal. Pinning the same root again is fine. Raises
    :exc:`TrustRefused` where another one is pinned, or where `root` is not signed by itself.
    """
    raise NotImplementedError


class TrustClient:
    """What is signed under the root that is pinned in `folder`. Not for two threads or processes at once.

    `read` fetches metadata; `now` is the machine's clock, which may be wrong; `build_time` is a time that has passed
    for certain, such as when the software was built. Raises :exc:`TrustRefused` (``not_pinned``) without a root.
    """

    def __init__(
        self, folder: Path, read: Read, *, now: Callable[[], datetime] = _now, build_time: datetime | None = None
    ) -> None:
        raise NotImplementedError

    clock_note: str | None
    """What to tell people where the clock is before a time that is known to have passed; else ``None``."""

    def refresh(self, base_url: str) -> None:
        """Take the newest metadata from the provider at `base_url`.

        Raises :exc:`TrustRefused`, or :exc:`plasm_fetching.http.FetchError` where the provider does not answer; what
        was believed before stands then.
        """
        raise NotImplementedError

    def artifact(self, path: str) -> Artifact:
        """What is signed under the target path `path`. Raises :exc:`TrustRefused`."""
        raise NotImplementedError

    def artifacts(self, channel: str, arch: str) -> tuple[Artifact, ...]:
        """All that is signed for `channel` and `arch`, by name. Raises :exc:`TrustRefused`."""
        raise NotImplementedError
