"""Keeping a copy of what a publisher signed, to serve it on without a key of one's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from plasm_fetching.http import Absent

from plasm_trust import layout, manifest
from plasm_trust.client import TrustClient
from plasm_trust.installing import Manifests, install
from plasm_trust.metadata_folder import first_root, version_of
from plasm_trust.parsing import MAX_BYTES
from plasm_trust.published import Published, architectures, check_manifest, offer, read_repository
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.verifying import VerifiedMetadata, verify_repository, verify_roots

_log = logging.getLogger(__name__)

_ATTEMPTS: Final = 3
"""How often a publisher may publish anew while its files are being copied."""


@dataclass(frozen=True, kw_only=True)
class MirrorBounds:
    """What a publisher may make a mirror hold: whom one believes is not whom one gives all memory."""

    most_channels: int = 256
    most_manifests: int = 1024
    """One for each channel and architecture."""
    metadata_bytes: int = 64 * 2**20
    """Of metadata, and as much again of manifests: they are held in memory, and what is made of them takes more."""


def mirror(
    client: TrustClient,
    base_url: str,
    destination: Path,
    *,
    before: Callable[[Published], None] | None = None,
    bounds: MirrorBounds | None = None,
) -> Published:
    """Refresh `client` from `base_url` and copy the metadata and manifests that it verified to `destination`.

    The artifacts are left to the caller, who puts them where :func:`plasm_trust.layout.hashed_name` says below
    ``destination/targets``: `before` is called with what is about to be published, and nothing is published before it
    returns, or if it raises. What is in `destination` is replaced in such an order that it is a whole repository at
    every moment, and never by something older; nobody else writes there meanwhile. Channels above `bounds` are left
    out, and whatever else is above them is refused.

    Raises :exc:`plasm_trust.refusal.TrustRefused`, :exc:`plasm_fetching.http.FetchError` or :exc:`OSError`.
    """
    bounds = bounds or MirrorBounds()
    for attempt in range(_ATTEMPTS):
        client.refresh(base_url)
        budget = _Budget(bounds.metadata_bytes)
        verified = _take_channels(client, bounds, budget)
        try:
            manifests = _take_manifests(client, base_url, verified, bounds)
        except TrustRefused as error:
            if error.reason is not Reason.MIX_AND_MATCH or attempt == _ATTEMPTS - 1:
                raise
            continue
        break
    files = {**_earlier_roots(client, base_url, destination, budget), **verified.files}
    _check_not_older(files, verified, destination)
    if before is not None:
        before(replace(offer(verified), manifests={where: data for where, (_, data) in manifests.items()}))
    install(destination, files, manifests)
    return Published.load(destination)


class _Budget:
    """Bytes that may still be held."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most

    def has(self, size: int) -> bool:
        return size <= self._left

    def take(self, data: bytes) -> bytes:
        """`data`, counted. Raises :exc:`TrustRefused`."""
        if not self.has(len(data)):
            raise TrustRefused(Reason.ENDLESS_DATA, f"there are more than {self._most} bytes of metadata")
        self._left -= len(data)
        return data


def _take_channels(client: TrustClient, bounds: MirrorBounds, budget: _Budget) -> VerifiedMetadata:
    taken: set[str] = set()
    loaded = 0
    for channel in client.channels():
        if len(taken) >= bounds.most_channels or loaded > bounds.metadata_bytes:
            _log.warning("the channel %s is not mirrored: there are too many, or they are too large", channel)
            continue
        try:
            client.load(channel)
            loaded += len(client.kept(channel))
            taken.add(channel)
        except (Absent, TrustRefused) as error:
            # Its keys, or who serves it, concern this channel alone.
            _log.warning("the channel %s is not mirrored: %s", channel, error)

    def read(name: str) -> bytes | None:
        role, version = version_of(name)
        is_channel = layout.is_channel(role)
        if is_channel and role not in taken:
            return None
        try:
            data = client.kept_root(version) if role == "root" else client.kept(role)
        except FileNotFoundError:
            return None
        # A channel that is too much concerns itself alone.
        return None if is_channel and not budget.has(len(data)) else budget.take(data)

    return verify_repository(client.pinned_version, read)


def _take_manifests(client: TrustClient, base_url: str, verified: VerifiedMetadata, bounds: MirrorBounds) -> Manifests:
    budget = _Budget(bounds.metadata_bytes)
    taken = {}
    wanted = architectures(offer(verified).artifacts)
    if len(wanted) > bounds.most_manifests:
        raise TrustRefused(Reason.ENDLESS_DATA, f"there are more than {bounds.most_manifests} manifests")
    for channel, arch in wanted:
        try:
            data = client.read(layout.manifest_url(base_url, channel, arch), manifest.MAX_BYTES)
            check_manifest(data, channel, arch, verified)
        except Absent:
            _log.warning("there is no manifest of %s/%s at %s", channel, arch, base_url)
            continue
        taken[channel, arch] = (verified.channels[channel].version, budget.take(data))
    return taken


def _earlier_roots(client: TrustClient, base_url: str, destination: Path, budget: _Budget) -> dict[str, bytes]:
    """The roots before the pinned one, for clients that have pinned an earlier one, unless they are there already.

    None where they do not lead to the pinned one. They are believed by nobody who has not pinned one of them.
    """
    pinned = client.pinned_version
    if pinned == 1 or first_root(destination / layout.METADATA) == 1:
        return {}

    def read(name: str) -> bytes | None:
        version = version_of(name)[1]
        if version >= pinned:
            return client.kept_root(pinned) if version == pinned else None
        return budget.take(client.read(f"{layout.metadata_url(base_url)}{name}", MAX_BYTES["root"]))

    try:
        _, files = verify_roots(1, read)
    except (Absent, TrustRefused) as error:
        _log.warning("clients that pin a root before version %d will not follow: %s", pinned, error)
        return {}
    return files


def _check_not_older(files: dict[str, bytes], verified: VerifiedMetadata, destination: Path) -> None:
    try:
        there = read_repository(destination)
    except TrustRefused:
        return
    shared = [name for name in there.files if version_of(name)[0] == "root" and name in files]
    if not shared or any(files[name] != there.files[name] for name in shared):
        raise TrustRefused(
            Reason.OTHER_ROOT, f"{destination} holds another repository", "mirror this one to another folder"
        )
    old, new = there.versions(), verified.versions()
    for role in old:
        if role in new and new[role] < old[role]:
            raise TrustRefused(
                Reason.ROLLBACK, f"{role} {new[role]} is served, and {destination} has {role} {old[role]} already"
            )
