"""manifest.json is believed by keys that come from elsewhere, and means one thing."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from plasm_fetching.artifact import Artifact
from plasm_trust import manifest
from plasm_trust.keyids import key_id
from plasm_trust.keys import tuf_key
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.tufapi import SSlibKey

from plasm.testing import FakeSigner

SPECS = Path(__file__).parents[3] / "specs"
VECTORS: dict[str, Any] = json.loads((SPECS / "vectors/boot-manifests.json").read_text())
VALID, INVALID = VECTORS["valid"], VECTORS["invalid"]
NOW = datetime(2026, 4, 1, tzinfo=UTC)
KEY = FakeSigner(1)
KEYS = {key_id(KEY.public_key): KEY.public_key}
KERNEL = Artifact(path="stable/x86_64/kernel", size=5, sha256="0" * 64, kind="kernel")


def keys_of(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in texts.items()}


def signed(*artifacts: Artifact) -> dict[str, Any]:
    document = manifest.make(
        "stable", "x86_64", 1, artifacts, created_at=NOW, expires_at=datetime(2026, 5, 1, tzinfo=UTC)
    )
    manifest.sign(document, KEY, NOW)
    return document


# --- the vectors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector["name"])
def test_what_is_valid_is_believed(vector: dict[str, Any]) -> None:
    found = manifest.verify(vector["text"].encode(), keys_of(vector["keys"]), vector["threshold"], now=NOW)
    assert found.version == vector["version"]
    said = {name: [each.size, f"sha256:{each.sha256}"] for name, each in found.artifacts.items()}
    assert said == vector["artifacts"]


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector["name"])
def test_the_signed_bytes_follow_from_the_text_alone(vector: dict[str, Any]) -> None:
    """With nothing of ours imported: the names and texts are sorted as RFC 8785 has them."""
    document = json.loads(vector["text"])
    signatures = document.pop("signatures")
    covered = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    message = b"phase-manifest-v1\0" + covered.encode()
    assert message.hex() == vector["signed"]
    for each in signatures:
        seed = bytes.fromhex(VECTORS["seeds"][each["key_id"]])
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
        public.verify(base64.b64decode(each["signature"], validate=True), message)


@pytest.mark.parametrize("vector", INVALID, ids=lambda vector: vector["why"])
def test_what_is_invalid_is_refused_for_its_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(TrustRefused) as refused:
        manifest.verify(vector["text"].encode(), keys_of(VECTORS["keys_of_invalid"]), vector["threshold"], now=NOW)
    assert refused.value.reason == vector["reason"]


def test_the_schema_describes_what_is_valid_and_what_we_write() -> None:
    schema = json.loads((SPECS / "schemas/boot-manifest.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for vector in VALID:
        validator.validate(json.loads(vector["text"]))
    validator.validate(signed(KERNEL))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_the_commands_of_the_text_verify_a_manifest(tmp_path: Path) -> None:
    (commands,) = re.findall(r"^```sh\n(.*?)^```", (SPECS / "boot-repository.md").read_text(), re.M | re.S)
    public = Ed25519PublicKey.from_public_bytes(KEY.public_key)
    (tmp_path / "channel.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    document = signed(KERNEL)
    (tmp_path / "manifest.json").write_bytes(manifest.encode(document))
    shell = ["sh", "-e", "-c", commands]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully"), done.stderr
    document["artifacts"]["kernel"]["size_bytes"] = 6
    (tmp_path / "manifest.json").write_bytes(manifest.encode(document))
    assert subprocess.run(shell, cwd=tmp_path, capture_output=True, check=False).returncode != 0


# --- beyond them ----------------------------------------------------------------------------------------------------


def test_what_was_made_is_what_is_read() -> None:
    found = manifest.verify(manifest.encode(signed(KERNEL)), KEYS, now=NOW)
    assert (found.channel, found.arch, found.artifacts) == ("stable", "x86_64", {"kernel": KERNEL})


def test_a_manifest_that_has_expired_is_refused_and_the_clock_is_named() -> None:
    data = manifest.encode(signed(KERNEL))
    with pytest.raises(TrustRefused, match="the clock is wrong") as refused:
        manifest.verify(data, KEYS, now=datetime(2026, 5, 1, tzinfo=UTC))
    assert refused.value.reason is Reason.FROZEN
    assert manifest.verify(data, KEYS).version == 1


def test_one_key_under_two_names_signs_once() -> None:
    document = signed(KERNEL)
    document["signatures"].append(document["signatures"][0] | {"key_id": "another"})
    with pytest.raises(TrustRefused):
        manifest.verify(manifest.encode(document), {**KEYS, "another": KEY.public_key}, 2)


@pytest.mark.parametrize("threshold", [0, -1])
def test_no_threshold_makes_an_unsigned_manifest_signed(threshold: int) -> None:
    document = signed(KERNEL) | {"signatures": []}
    with pytest.raises(TrustRefused):
        manifest.verify(manifest.encode(document), KEYS, threshold)


def test_endless_data_is_refused_before_it_is_read() -> None:
    with pytest.raises(TrustRefused) as refused:
        manifest.parse(b'{"a": "' + b"x" * manifest.MAX_BYTES)
    assert refused.value.reason is Reason.ENDLESS_DATA


def test_signing_again_replaces_a_signature() -> None:
    document = signed(KERNEL)
    manifest.sign(document, KEY, NOW)
    assert len(document["signatures"]) == 1


@given(st.binary(max_size=64).map(hashlib.sha256).map(lambda digest: digest.digest()))
def test_key_ids_are_those_of_tuf(seed: bytes) -> None:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert (
        SSlibKey.from_crypto(public).keyid
        == key_id(public.public_bytes_raw())
        == tuf_key(public.public_bytes_raw()).keyid
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=400) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(TrustRefused):
        manifest.verify(data, KEYS)


@given(path=st.lists(st.integers(0, 8), max_size=4), value=JSON)
def test_a_signed_manifest_with_any_value_anywhere_is_read_or_refused(path: list[int], value: object) -> None:
    """Signed by the right key, so that all that is behind the signature is reached."""
    document = signed(KERNEL)
    del document["signatures"]
    place: Any = document
    for step in path[:-1]:
        names = list(place)
        inner = place[names[step % len(names)]]
        if not isinstance(inner, dict) or not inner:
            break
        place = inner
    names = list(place)
    place[names[path[-1] % len(names)] if path else "more"] = value
    document["signatures"] = []
    with contextlib.suppress(TrustRefused):
        manifest.sign(document, KEY, NOW)
        found = manifest.verify(manifest.encode(document), KEYS)
        assert found.channel
        assert all(type(each.size) is int and len(each.sha256) == 64 for each in found.artifacts.values())


@given(st.data())
def test_a_changed_byte_is_never_believed_to_say_something_else(data: st.DataObject) -> None:
    honest = manifest.encode(signed(KERNEL))
    position = data.draw(st.integers(0, len(honest) - 1))
    changed = honest[:position] + bytes([data.draw(st.integers(0, 255))]) + honest[position + 1 :]
    try:
        found = manifest.verify(changed, KEYS)
    except TrustRefused:
        return
    assert found == manifest.verify(honest, KEYS)
