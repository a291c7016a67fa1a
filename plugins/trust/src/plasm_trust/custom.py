"""The ``custom`` of a target: what an artifact is, beyond its bytes (``specs/boot-repository.md``, section 3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from plasm_fetching.artifact import PIECE_BYTES, Artifact

from plasm_trust.refusal import Reason, TrustRefused

if TYPE_CHECKING:
    from plasm_trust.tufapi import TargetFile

MAX_CMDLINE: Final = 2048
MAX_VERSION: Final = 64
MAX_SIZE: Final = 2**53 - 1
"""Bytes of an artifact: the largest number that every JSON reader keeps whole (RFC 8259, section 6)."""

_HEX = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z0-9][a-z0-9-]{0,31}|")
_LEAST_PIECE, _LARGEST_PIECE = 2**16, 2**26


def custom_of(artifact: Artifact) -> dict[str, Any]:
    """The ``custom`` object of `artifact`."""
    return {
        "kind": artifact.kind,
        "version": artifact.version,
        "cmdline": artifact.cmdline,
        "piece_bytes": artifact.piece_bytes,
        "pieces": list(artifact.pieces),
    }


def artifact_of(path: str, target: TargetFile) -> Artifact:
    """The artifact that is signed at `path`. Raises :exc:`TrustRefused` (``malformed``)."""
    custom = target.custom if target.custom is not None else {}
    if not isinstance(custom, dict):
        raise _malformed(path, "custom is no object")
    artifact = Artifact(
        path=path,
        size=target.length,
        sha256=target.hashes.get("sha256", ""),
        pieces=_pieces(path, custom),
        piece_bytes=custom.get("piece_bytes", PIECE_BYTES),
        kind=custom.get("kind", ""),
        version=custom.get("version", ""),
        cmdline=custom.get("cmdline", ""),
    )
    check(artifact)
    return artifact


def check(artifact: Artifact) -> None:
    """Raises :exc:`TrustRefused` (``malformed``) where a member of `artifact` is not what may be signed."""
    path = artifact.path
    if type(artifact.size) is not int or not 0 <= artifact.size <= MAX_SIZE:
        raise _malformed(path, "its length is no size")
    if not isinstance(artifact.sha256, str) or not _HEX.fullmatch(artifact.sha256):
        raise _malformed(path, "it has no SHA-256")
    if not isinstance(artifact.kind, str) or not _KIND.fullmatch(artifact.kind):
        raise _malformed(path, "its kind is no word")
    if not _is_text(artifact.version, MAX_VERSION):
        raise _malformed(path, f"its version is not printable ASCII of at most {MAX_VERSION} characters")
    if not _is_text(artifact.cmdline, MAX_CMDLINE):
        raise _malformed(path, f"its command line is not printable ASCII of at most {MAX_CMDLINE} characters")
    size = artifact.piece_bytes
    if type(size) is not int or not _LEAST_PIECE <= size <= _LARGEST_PIECE:
        raise _malformed(path, f"its pieces are not of {_LEAST_PIECE} to {_LARGEST_PIECE} bytes")
    if artifact.pieces and len(artifact.pieces) != -(-artifact.size // size):
        raise _malformed(path, "it has more or fewer pieces than its length says")


def _pieces(path: str, custom: dict[str, Any]) -> tuple[str, ...]:
    pieces = custom.get("pieces", [])
    if not isinstance(pieces, list) or not all(isinstance(each, str) and _HEX.fullmatch(each) for each in pieces):
        raise _malformed(path, "its pieces are no list of SHA-256")
    return tuple(pieces)


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and value.isascii() and value.isprintable()


def _malformed(path: str, why: str) -> TrustRefused:
    return TrustRefused(Reason.MALFORMED, f"{path} is not signed as it must be: {why}")
