"""Keeping a copy of what a publisher signed, to serve it on without a key of one's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
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


def mirror(
    client: TrustClient, base_url: str, destination: Path, *, before: Callable[[Published], None] | None = None
) -> Published:
    """Refresh `client` from `base_url` and copy the metadata and manifests that it verified to `destination`.

    The artifacts are left to the caller, who puts them where :func:`plasm_trust.layout.hashed_name` says below
    ``destination/targets``: `before` is called with what is about to be published, and nothing is published before it
    returns, or if it raises. What is in `destination` is replaced in such an order that it is a whole repository at
    every moment, and never by something older; nobody else writes there meanwhile.

    Raises :exc:`plasm_trust.refusal.TrustRefused`, :exc:`plasm_fetching.http.FetchError` or :exc:`OSError`.
    """
    for attempt in range(_ATTEMPTS):
        client.refresh(base_url)
        verified = _take_channels(client)
        try:
            manifests = _take_manifests(client, base_url, verified)
        except TrustRefused as error:
            if error.reason is not Reason.MIX_AND_MATCH or attempt == _ATTEMPTS - 1:
                raise
            continue
        break
    files = {**_earlier_roots(client, base_url, destination), **verified.files}
    _check_not_older(files, verified, destination)
    if before is not None:
        before(replace(offer(verified), manifests={where: data for where, (_, data) in manifests.items()}))
    install(destination, files, manifests)
    return Published.load(destination)


def _take_channels(client: TrustClient) -> VerifiedMetadata:
    for channel in client.channels():
        try:
            client.load(channel)
        except (Absent, TrustRefused) as error:
            # Its keys, or who serves it, concern this channel alone.
            _log.warning("the channel %s is not mirrored: %s", channel, error)

    def read(name: str) -> bytes | None:
        role, version = version_of(name)
        try:
            return client.kept_root(version) if role == "root" else client.kept(role)
        except FileNotFoundError:
            return None

    return verify_repository(client.pinned_version, read)


def _take_manifests(client: TrustClient, base_url: str, verified: VerifiedMetadata) -> Manifests:
    taken = {}
    for channel, arch in architectures(offer(verified).artifacts):
        try:
            data = client.read(layout.manifest_url(base_url, channel, arch), manifest.MAX_BYTES)
            check_manifest(data, channel, arch, verified)
        except Absent:
            _log.warning("there is no manifest of %s/%s at %s", channel, arch, base_url)
            continue
        taken[channel, arch] = (verified.channels[channel].version, data)
    return taken


def _earlier_roots(client: TrustClient, base_url: str, destination: Path) -> dict[str, bytes]:
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
        return client.read(f"{layout.metadata_url(base_url)}{name}", MAX_BYTES["root"])

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
