"""From bytes to TUF metadata whose signatures were checked."""

from __future__ import annotations

from typing import Final, TypeVar

from tuf.api.exceptions import UnsignedMetadataError

from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.tufapi import Metadata, Root, Snapshot, Targets, Timestamp

MAX_BYTES: Final = {"root": 512_000, "timestamp": 16_384, "snapshot": 2_000_000, "targets": 5_000_000}
"""The most that metadata of each type may have; whoever signed it."""

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


def parse(kind: type[T], data: bytes, name: str) -> Metadata[T]:
    """Metadata of the type `kind`, unverified. `name` is what people call it. Raises :exc:`TrustRefused`."""
    if len(data) > MAX_BYTES[kind.type]:
        raise TrustRefused(Reason.ENDLESS_DATA, f"{name} is larger than {MAX_BYTES[kind.type]} bytes")
    try:
        metadata = Metadata[T].from_bytes(data)
        _ = metadata.signed_bytes
    # The library lets what it met inside the bytes come through; whatever it is, nothing of them is used.
    except Exception as error:
        raise TrustRefused(Reason.MALFORMED, f"{name} is not TUF metadata: {error}") from None
    if not isinstance(metadata.signed, kind):
        raise TrustRefused(Reason.WRONG_ROLE, f"{name} is metadata of the type {metadata.signed.type}")
    return metadata


def check_signed(delegator: Root | Targets, role: str, metadata: Metadata[T], name: str) -> None:
    """Raises :exc:`TrustRefused` where the keys that `delegator` names for `role` have not signed `metadata`."""
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        raise TrustRefused(Reason.BAD_SIGNATURE, f"{name}: {error}") from None
    # Keys and signatures from outside may be anything, and the library raises whatever that leads to.
    except Exception as error:
        raise TrustRefused(Reason.BAD_SIGNATURE, f"{name} has no signatures that can be checked: {error}") from None


def parse_root(data: bytes, name: str = "the root") -> Root:
    """Root metadata that is signed by itself, for whoever trusts these bytes. Raises :exc:`TrustRefused`."""
    metadata = parse(Root, data, name)
    check_signed(metadata.signed, Root.type, metadata, name)
    return metadata.signed


def next_root(before: Root, data: bytes) -> Root:
    """The root that follows `before`, signed by both. Raises :exc:`TrustRefused`."""
    name = f"{before.version + 1}.root.json"
    metadata = parse(Root, data, name)
    check_signed(before, Root.type, metadata, name)
    check_signed(metadata.signed, Root.type, metadata, name)
    if metadata.signed.version != before.version + 1:
        raise TrustRefused(Reason.ROLLBACK, f"{name} says that it is version {metadata.signed.version}")
    return metadata.signed
