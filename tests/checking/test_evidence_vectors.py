"""The vectors of evidence: every good file proves what it says there, every bad one is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plasm.checking.evidence import MAX_AGREEING, MAX_EVIDENCE_BYTES, EvidenceRefused, check_evidence

SPECS = Path(__file__).parents[2] / "specs"
VECTORS = json.loads((SPECS / "vectors" / "evidence.json").read_text())
SCHEMA = jsonschema.Draft202012Validator(json.loads((SPECS / "schemas" / "evidence.json").read_text()))
# What JSON Schema cannot see: bytes, order, signatures, and what the receipts say.
SHAPES = {
    "one receipt alone",
    "three receipts",
    "the same receipt twice",
    "more thirds than are allowed",
    "a member more",
}


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_a_good_file_proves_what_the_vector_says(vector):
    finding = check_evidence(vector["file"].encode())
    assert finding.job_digest == vector["job_digest"]
    assert list(finding.nodes) == vector["nodes"]
    assert list(finding.differs) == vector["differs"]
    assert [list(side) for side in finding.agreeing] == vector["agreeing"]
    assert (finding.self_contradiction, finding.same_engine) == (vector["self_contradiction"], vector["same_engine"])
    assert finding.odd_one == vector["odd_one"]
    SCHEMA.validate(json.loads(vector["file"]))


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["why"])
def test_a_bad_file_is_refused(vector):
    with pytest.raises(EvidenceRefused):
        check_evidence(vector["file"].encode())
    if vector["why"] in SHAPES:
        assert not SCHEMA.is_valid(json.loads(vector["file"]))


def test_the_vectors_and_the_text_name_the_bounds_of_the_code():
    assert (VECTORS["largest"], VECTORS["most_agreeing"]) == (MAX_EVIDENCE_BYTES, MAX_AGREEING)
    text = (SPECS / "checking.md").read_text()
    assert str(MAX_EVIDENCE_BYTES) in text
    assert f"0 to {MAX_AGREEING} receipts" in text


ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def key_of_peer(peer: str) -> Ed25519PublicKey:
    number = 0
    for character in peer:
        number = number * 58 + ALPHABET.index(character)
    return Ed25519PublicKey.from_public_bytes(number.to_bytes(37, "big")[5:])


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_the_contradiction_follows_from_the_text_alone(vector):
    """Section 3 of the text, with nothing of ours: JSON, base64 and Ed25519."""
    file = json.loads(vector["file"])
    written = json.dumps(file, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert (written, file["type"]) == (vector["file"], "urn:phase:evidence:1")
    predicates = []
    for envelope in file["receipts"] + file["agreeing"]:
        payload, (signature,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
        kind = envelope["payloadType"]
        signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
        key_of_peer(signature["keyid"]).verify(base64.b64decode(signature["sig"]), signed)
        predicates.append(json.loads(payload)["predicate"])
        assert predicates[-1]["node"] == signature["keyid"]
    one, other, *further = predicates
    assert one["jobDigest"] == other["jobDigest"]
    assert one["resultDigest"] != other["resultDigest"]
    assert all(each["resultDigest"] in (one["resultDigest"], other["resultDigest"]) for each in further)
