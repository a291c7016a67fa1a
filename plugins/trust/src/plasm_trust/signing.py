"""Who has signed what is staged, who still must, and adding the signatures of the keys that are at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from plasm_trust import layout, manifest
from plasm_trust.choosing import Current, manifests_belong
from plasm_trust.keyids import key_id
from plasm_trust.keys import did_of_key, sign
from plasm_trust.published import channel_keys
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.staging import Staging
from plasm_trust.tufapi import Key, Metadata, Root, Targets, VerificationResult

if TYPE_CHECKING:
    from plasm.ports import Signer


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A role that is to say something new, and how far its signing is."""

    role: str
    version: int
    missing: int
    """How many signatures are still needed; 0 where it is signed as it must be."""
    signed: tuple[str, ...]
    """The did:keys that have signed."""
    unsigned: tuple[str, ...]
    """The did:keys of which the missing ones may be."""


@dataclass(frozen=True, kw_only=True)
class Added:
    """A signature that was added: whose, to what."""

    role: str
    did: str


def wanted_signatures(staging: Staging, current: Current) -> tuple[Wanted, ...]:
    """Each staged role in the order in which they build on each other."""
    wanted = []
    for role, metadata, delegators in _staged(staging, current):
        results = [_result(staging, delegator, role, metadata) for delegator in delegators]
        open_results = [result for result in results if not result]
        wanted.append(
            Wanted(
                role=role,
                version=metadata.signed.version,
                missing=max((result.missing for result in open_results), default=0),
                signed=_dids(key for result in results for key in result.signed.values()),
                unsigned=_dids(key for result in open_results for key in result.unsigned.values()),
            )
        )
    return tuple(wanted)


def add_signatures(
    staging: Staging, current: Current, signers: Sequence[Signer], roles: Iterable[str], now: datetime
) -> tuple[Added, ...]:
    """Sign what is staged of `roles` with the keys among `signers` that may, and have not.

    Raises :exc:`TrustRefused` where a channel's manifests are not its own, :exc:`plasm.ports.SignerError` or
    :exc:`OSError`.
    """
    added: list[Added] = []
    chosen = frozenset(roles)
    for role, metadata, delegators in _staged(staging, current):
        if role not in chosen:
            continue
        may: dict[str, Key] = {}
        for delegator in delegators:
            may |= _result(staging, delegator, role, metadata).unsigned
        able = [signer for signer in signers if key_id(signer.public_key) in may]
        if not able:
            continue
        documents = staging.manifests(role) if role not in layout.ROLES else {}
        if role not in layout.ROLES and not manifests_belong(role, metadata, documents):
            # They are not shown to whoever signs, so they must follow from what is.
            raise TrustRefused(
                Reason.MIX_AND_MATCH, f"the manifests that are staged are not those of {role}", "stage it anew"
            )
        for signer in able:
            signed_by = sign(metadata, signer)
            for document in documents.values():
                manifest.sign(document, signer, now)
            added.append(Added(role=role, did=did_of_key(may[signed_by])))
        if documents:
            staging.put_manifests(role, documents)
        staging.put(role, metadata)
    return tuple(added)


def _staged(staging: Staging, current: Current) -> Iterator[tuple[str, Metadata[Any], tuple[Root | Targets, ...]]]:
    """Each staged role, its metadata, and those whose keys for it must sign."""
    root, targets = staging.root(), staging.targets("targets")
    newest = root or current.root
    if root is not None:
        before = (current.root.signed,) if current.root is not None else ()
        yield "root", root, (*before, root.signed)
    if targets is not None and newest is not None:
        yield "targets", targets, (newest.signed,)
    top = targets or current.targets.get("targets")
    for name in staging.channels():
        channel = staging.targets(name)
        if channel is not None and top is not None:
            yield name, channel, (top.signed,)


def _result(staging: Staging, delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> VerificationResult:
    """Who has signed `metadata`, and its manifests where it is a channel's."""
    result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    if isinstance(delegator, Targets):
        keys, _ = channel_keys(delegator, role)
        for document in staging.manifests(role).values():
            signed = manifest.signed_by(document, keys)
            for name in [each for each in result.signed if keys.get(each) not in signed]:
                result.unsigned[name] = result.signed.pop(name)
    return result


def _dids(keys: Iterable[Key]) -> tuple[str, ...]:
    return tuple(sorted({did_of_key(key) for key in keys}))
