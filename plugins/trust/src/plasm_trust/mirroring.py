"""Keeping a copy of what a publisher signed, to serve it on without a key of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plasm_trust.published import Published

if TYPE_CHECKING:
    from plasm_trust.client import TrustClient


def mirror(client: TrustClient, base_url: str, destination: Path) -> Published:
    """Refresh `client` from `base_url` and copy the metadata and manifests that it verified to `destination`.

    The artifacts are left to the caller: ``destination/targets/CHANNEL/ARCH/NAME``. What is in `destination` is
    replaced in such an order that it is a whole repository at every moment, and never by something older. Raises
    :exc:`plasm_trust.refusal.TrustRefused`, :exc:`plasm_fetching.http.FetchError` or :exc:`OSError`.
    """
    raise NotImplementedError
