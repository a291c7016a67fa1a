"""``manifest.json``: what a channel holds for one architecture, in one signed file, for small clients and people.

``specs/boot-repository.md``, section 6. The signatures cover the RFC 8785 form of
everything but themselves. Needs the standard library, cryptography and rfc8785; the keys always come from elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from plasm_fetching.artifact import Artifact

from plasm_trust import custom, layout
from plasm_trust.clock import from_text, in_words, to_text
from plasm_trust.keyids import key_id
from plasm_trust.refusal import Reason, TrustRefused

if TYPE_CHECKING:
    from plasm.ports import Signer

MANIFEST_VERSION: Final = 1
MAX_BYTES: Final = 256 * 1024
"""The most that a manifest may have."""
MAX_ARTIFACTS: Final = 256
MAX_SIGNATURES: Final = 32

_DOMAIN: Final = b"phase-manifest-v1\0"
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_MEMBERS: Final = ("version", "channel", "arch", "created_at", "expires_at", "artifacts", "signatures")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a manifest says, once it was verified."""

    version: int
    """Of the channel: it grows whenever its publisher signs."""
    channel: str
    arch: str
    created_at: datetime
    expires_at: datetime
    artifacts: Mapping[str, Artifact]
    """By name; without the digests of pieces, which only TUF metadata has."""


def make(
    channel: str,
    arch: str,
    version: int,
    artifacts: Iterable[Artifact],
    *,
    created_at: datetime,
    expires_at: datetime,
) -> dict[str, Any]:
    """An unsigned manifest of `artifacts`, all of which are of `channel` and `arch`."""
    return {
        "manifest_version": MANIFEST_VERSION,
        "version": str(version),
        "channel": channel,
        "arch": arch,
        "created_at": to_text(created_at),
        "expires_at": to_text(expires_at),
        "artifacts": {each.path.rpartition("/")[2]: _entry(each) for each in artifacts},
        "signatures": [],
    }


def signed_bytes(document: Mapping[str, Any]) -> bytes:
    """What the signatures of `document` cover. Raises :exc:`TrustRefused` where it has no RFC 8785 form."""
    covered = {name: value for name, value in document.items() if name != "signatures"}
    try:
        return _DOMAIN + rfc8785.dumps(covered)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise _malformed(f"it has no canonical form: {error}") from None


def sign(document: dict[str, Any], signer: Signer, now: datetime) -> None:
    """Add or renew the signature of `signer`. Raises :exc:`plasm.ports.SignerError`."""
    name = key_id(signer.public_key)
    signature = {
        "algorithm": "ed25519",
        "key_id": name,
        "signature": base64.b64encode(signer.sign(signed_bytes(document))).decode(),
        "signed_at": to_text(now),
    }
    others = [each for each in document["signatures"] if each["key_id"] != name]
    document["signatures"] = sorted([*others, signature], key=lambda each: str(each["key_id"]))


def encode(document: Mapping[str, Any]) -> bytes:
    """The file's bytes, the same for the same document; made to be read by people too."""
    return json.dumps(document, indent=2).encode() + b"\n"


def parse(data: bytes) -> dict[str, Any]:
    """The document in `data`: well-formed, of a form that has one meaning, and unverified.

    Raises :exc:`TrustRefused` (``malformed``, ``endless_data``).
    """
    if len(data) > MAX_BYTES:
        raise TrustRefused(Reason.ENDLESS_DATA, f"the manifest is larger than {MAX_BYTES} bytes")
    try:
        document = json.loads(
            data.decode(), object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise _malformed(str(error)) from None
    if not isinstance(document, dict) or any(name not in document for name in _MEMBERS):
        raise _malformed(f"it is not an object with {', '.join(_MEMBERS)}")
    if not isinstance(document["artifacts"], dict) or len(document["artifacts"]) > MAX_ARTIFACTS:
        raise _malformed(f"its artifacts are no object of at most {MAX_ARTIFACTS}")
    if type(document.get("manifest_version")) is not int or document["manifest_version"] != MANIFEST_VERSION:
        raise _malformed(f"it is not of version {MANIFEST_VERSION}")
    return document


def verify(data: bytes, keys: Mapping[str, bytes], threshold: int = 1, *, now: datetime | None = None) -> Manifest:
    """What the manifest in `data` says, where `threshold` of `keys` have signed it.

    `keys` are what the caller believes in: TUF key id → 32-byte Ed25519 public key. With `now`, it must not have
    expired by then. Raises :exc:`TrustRefused`.
    """
    document = parse(data)
    count = len(signed_by(document, keys))
    if count < max(1, threshold):
        raise TrustRefused(
            Reason.BAD_SIGNATURE, f"the manifest is signed by {count} of the {max(1, threshold)} keys that must sign it"
        )
    manifest = _read(document)
    if now is not None and manifest.expires_at <= now:
        raise TrustRefused(
            Reason.FROZEN,
            f"the manifest expired on {in_words(manifest.expires_at)}, and by the clock it is {in_words(now)}:"
            " it is out of date, or the clock is wrong",
            "check the date of this machine; if it is right, ask another provider",
        )
    return manifest


def signed_by(document: Mapping[str, Any], keys: Mapping[str, bytes]) -> set[bytes]:
    """Those public keys among `keys` that have signed `document`. Raises :exc:`TrustRefused` (``malformed``)."""
    signatures = document["signatures"]
    if not isinstance(signatures, list) or len(signatures) > MAX_SIGNATURES:
        raise _malformed(f"its signatures are no list of at most {MAX_SIGNATURES}")
    message = signed_bytes(document)
    # Public keys are counted, not their names: one key under two names signs once.
    signed: set[bytes] = set()
    for each in signatures:
        if not isinstance(each, dict) or each.get("algorithm") != "ed25519" or not isinstance(each.get("key_id"), str):
            continue
        public = keys.get(each["key_id"])
        if public is not None and _is_valid(public, each.get("signature"), message):
            signed.add(public)
    return signed


def _is_valid(public: bytes, signature: object, message: bytes) -> bool:
    if not isinstance(signature, str) or len(signature) != 88:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature, validate=True), message)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _read(document: Mapping[str, Any]) -> Manifest:
    try:
        channel, arch = layout.channel_name(document["channel"]), layout.arch_name(document["arch"])
    except (layout.BadName, TypeError) as error:
        raise _malformed(str(error)) from None
    if arch != document["arch"]:
        raise _malformed(f"its architecture is called {arch}")
    if not isinstance(document["version"], str) or not _VERSION.fullmatch(document["version"]):
        raise _malformed("its version is no number")
    created, expires = from_text(document["created_at"]), from_text(document["expires_at"])
    if created is None or expires is None:
        raise _malformed("its times are not written YYYY-MM-DDTHH:MM:SSZ")
    return Manifest(
        version=int(document["version"]),
        channel=channel,
        arch=arch,
        created_at=created,
        expires_at=expires,
        artifacts={name: _artifact(f"{channel}/{arch}", name, entry) for name, entry in document["artifacts"].items()},
    )


def _entry(artifact: Artifact) -> dict[str, Any]:
    name = artifact.path.rpartition("/")[2]
    return {
        "filename": name,
        "size_bytes": artifact.size,
        "hash": f"sha256:{artifact.sha256}",
        "download_url": name,
        "kind": artifact.kind,
        "version": artifact.version,
        "cmdline": artifact.cmdline,
    }


def _artifact(folder: str, name: str, entry: object) -> Artifact:
    try:
        layout.artifact_name(name)
    except layout.BadName as error:
        raise _malformed(str(error)) from None
    if not isinstance(entry, dict):
        raise _malformed(f"{name} is no object")
    if entry.get("filename") != name or entry.get("download_url") != name:
        raise _malformed(f"{name} is to be had under another name than its own")
    digest = entry.get("hash")
    match = _HASH.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        raise _malformed(f"the hash of {name} is not sha256: and 64 hexadecimal digits")
    artifact = Artifact(
        path=f"{folder}/{name}",
        size=entry.get("size_bytes", -1),
        sha256=match[1],
        kind=entry.get("kind", ""),
        version=entry.get("version", ""),
        cmdline=entry.get("cmdline", ""),
    )
    custom.check(artifact)
    return artifact


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Readers differ in which of the two they take.
        raise ValueError("a member stands in it twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is no integer")


def _malformed(why: str) -> TrustRefused:
    return TrustRefused(Reason.MALFORMED, f"the manifest is not what it must be: {why}")
