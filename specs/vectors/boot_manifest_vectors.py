"""Vectors of boot manifests: valid ones with the keys that they are believed by, and ones to refuse, and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plasm_fetching.artifact import Artifact
from plasm_trust import manifest
from plasm_trust.keyids import key_id

MADE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXPIRES = datetime(2026, 5, 30, 12, 0, tzinfo=UTC)
NOW = datetime(2026, 4, 1, tzinfo=UTC)


class Key:
    """A signer for vectors."""

    def __init__(self, byte: int) -> None:
        self.seed = bytes([byte]) * 32
        self._key = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


ONE, TWO, STRANGER = Key(1), Key(2), Key(3)
KERNEL = Artifact(
    path="stable/x86_64/kernel",
    size=9_000_000,
    sha256=hashlib.sha256(b"kernel").hexdigest(),
    kind="kernel",
    version="6.1.0-13",
    cmdline='console=ttyS0 quiet opt="a\\b" /~',
)
DTB = Artifact(path="stable/x86_64/board-2.dtb", size=0, sha256=hashlib.sha256(b"").hexdigest(), kind="dtb")
LARGEST = Artifact(path="stable/x86_64/rootfs", size=2**53 - 1, sha256="0" * 64, kind="rootfs")


def _document(*artifacts: Artifact) -> dict[str, Any]:
    return manifest.make("stable", "x86_64", 7, artifacts, created_at=MADE, expires_at=EXPIRES)


def _signed(document: dict[str, Any], *keys: Key) -> dict[str, Any]:
    for key in keys:
        manifest.sign(document, key, MADE)
    return document


def _valid() -> list[dict[str, Any]]:
    unknown = _document(KERNEL) | {"x-notes": {"né": ["\u20ac", 1, True, None]}}
    cases: list[tuple[str, dict[str, Any], tuple[Key, ...], int]] = [
        ("one key", _signed(_document(KERNEL), ONE), (ONE,), 1),
        ("three artifacts", _signed(_document(KERNEL, DTB, LARGEST), ONE), (ONE,), 1),
        ("nothing in it", _signed(_document(), ONE), (ONE,), 1),
        ("two of two keys", _signed(_document(KERNEL), ONE, TWO), (ONE, TWO), 2),
        ("one of two keys, and a stranger's", _signed(_document(KERNEL), TWO, STRANGER), (ONE, TWO), 1),
        ("members that are not known", _signed(unknown, ONE), (ONE,), 1),
    ]
    return [
        {
            "name": name,
            "keys": _keys(*keys),
            "threshold": threshold,
            "signed": manifest.signed_bytes(document).hex(),
            "text": json.dumps(document, ensure_ascii=False),
            "version": int(document["version"]),
            "artifacts": {each: [entry["size_bytes"], entry["hash"]] for each, entry in document["artifacts"].items()},
        }
        for name, document, keys, threshold in cases
    ]


def _invalid() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def case(why: str, reason: str, change: Callable[[dict[str, Any]], None], *, after: bool = False) -> None:
        """A manifest that is changed before it is signed, or `after`."""
        document = _document(KERNEL)
        if not after:
            change(document)
        _signed(document, ONE)
        if after:
            change(document)
        found.append({"why": why, "reason": reason, "threshold": 1, "text": json.dumps(document)})

    def entry(**members: object) -> Callable[[dict[str, Any]], None]:
        return lambda document: document["artifacts"]["kernel"].update(members)

    case("another size than was signed", "bad_signature", entry(size_bytes=1), after=True)
    case("another member than was signed", "bad_signature", lambda document: document.update({"x": 1}), after=True)
    case("no signature", "bad_signature", lambda document: document.update(signatures=[]), after=True)
    case(
        "signed by a key that only the manifest names",
        "bad_signature",
        lambda document: document.update(signatures=_signed(_document(KERNEL), STRANGER)["signatures"]),
        after=True,
    )
    case(
        "the same signature under the name of another key",
        "bad_signature",
        lambda document: document["signatures"][0].update(key_id=key_id(TWO.public_key)),
        after=True,
    )
    case("signatures that are no list", "malformed", lambda document: document.update(signatures={}), after=True)
    case(
        "33 signatures",
        "malformed",
        lambda document: document.update(signatures=document["signatures"] * 33),
        after=True,
    )
    case("another manifest_version", "malformed", lambda document: document.update(manifest_version=2))
    case("a manifest_version that is no number", "malformed", lambda document: document.update(manifest_version="1"))
    case("a version that is no number", "malformed", lambda document: document.update(version="6.1"))
    case("a channel that is a path", "malformed", lambda document: document.update(channel="../stable"))
    case("a channel that has a role's name", "malformed", lambda document: document.update(channel="timestamp"))
    case("an architecture under its other name", "malformed", lambda document: document.update(arch="aarch64"))
    case("a time with an offset", "malformed", lambda document: document.update(expires_at="2026-05-30T12:00:00+00:00"))
    case("no artifacts", "malformed", lambda document: document.pop("artifacts"))
    case("a file name that is another's", "malformed", entry(filename="initramfs"))
    case("a URL that leads elsewhere", "malformed", entry(download_url="http://evil.test/kernel"))
    case("a URL that goes up", "malformed", entry(download_url="../kernel"))
    case("a hash that is none", "malformed", entry(hash="md5:" + "0" * 32))
    case("a hash in capital letters", "malformed", entry(hash="sha256:" + "A" * 64))
    case("a negative size", "malformed", entry(size_bytes=-1))
    case("a size that is true", "malformed", entry(size_bytes=True))
    case("a command line with a line break", "malformed", entry(cmdline="quiet\ninit=/bin/sh"))
    case("a kind that is no word", "malformed", entry(kind="a kernel"))
    case(
        "an artifact whose name is a path",
        "malformed",
        lambda document: document["artifacts"].update({"../x": dict(document["artifacts"]["kernel"])}),
    )
    good = json.dumps(_signed(_document(KERNEL), ONE))
    twice = good.replace('"size_bytes": 9000000', '"size_bytes": 1, "size_bytes": 9000000')
    for why, text in (
        ("a member twice", twice),
        ("a number with a fraction", good.replace("9000000", "9000000.0")),
        ("a number that JSON has not", good.replace("9000000", "NaN")),
        ("a number of 400 digits", good.replace("9000000", "9" * 400)),
        ("not an object", "[]"),
        ("not JSON", good[:-1]),
        ("brackets without end", "[" * 5000),
    ):
        found.append({"why": why, "reason": "malformed", "threshold": 1, "text": text})
    found.append({"why": "one of two keys that must sign", "reason": "bad_signature", "threshold": 2, "text": good})
    return found


def _keys(*keys: Key) -> dict[str, str]:
    return {key_id(key.public_key): key.public_key.hex() for key in keys}


def boot_manifests() -> dict[str, Any]:
    return {
        "now": "2026-04-01T00:00:00Z",
        "seeds": {key_id(key.public_key): key.seed.hex() for key in (ONE, TWO, STRANGER)},
        "valid": _valid(),
        "keys_of_invalid": _keys(ONE, TWO),
        "invalid": _invalid(),
    }
