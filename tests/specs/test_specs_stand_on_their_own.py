"""Following the texts alone, with nothing of ours imported, gives the digests, ids and proofs of the vectors."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Vectors = Callable[[str], dict[str, Any]]
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def jcs(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sorted_pairs(env: dict[str, str]) -> list[list[str]]:
    return [[name, env[name]] for name in sorted(env, key=lambda name: name.encode())]


def job_document(job: dict[str, Any]) -> dict[str, Any]:
    manifest = job["manifest"]
    limits = {
        "cpuCores": manifest["cpu_cores"],
        "fileBytes": manifest["file_bytes"],
        "hostCalls": manifest["host_calls"],
        "memoryMb": manifest["memory_mb"],
        "outputBytes": manifest["output_bytes"],
        "timeoutSeconds": manifest["timeout_seconds"],
    }
    if manifest["fuel"] is not None:
        limits["fuel"] = manifest["fuel"]
    return {
        "args": job["args"],
        "capabilities": sorted(manifest["capabilities"]),
        "env": sorted_pairs(job["env"]),
        "inputs": [[file["path"], file["digest"]] for file in job["inputs"]],
        "limits": limits,
        "module": manifest["module_hash"],
        "stdin": job["stdin"],
        "type": "urn:phase:job:1",
    }


def input_document(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "args": job["args"],
        "env": sorted_pairs(job["env"]),
        "inputs": [[file["path"], file["digest"]] for file in job["inputs"]],
        "stdin": job["stdin"],
        "type": "urn:phase:input:1",
    }


def key_of_peer(peer: str) -> bytes:
    number = 0
    for character in peer:
        number = number * 58 + ALPHABET.index(character)
    raw = b"\0" * (len(peer) - len(peer.lstrip("1"))) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    assert len(raw) == 38
    assert raw[:6].hex() == "002408011220"
    return raw[6:]


def test_job_digests_follow_from_the_text(vectors: Vectors) -> None:
    for vector in vectors("jobs")["valid"]:
        written = jcs(job_document(vector["job"]))
        assert written.decode() == vector["canonical"]
        assert digest(written) == vector["digest"]
        assert digest(jcs(input_document(vector["job"]))) == vector["input_digest"]


def test_job_ids_follow_from_the_text(vectors: Vectors) -> None:
    for vector in vectors("jobs")["job_ids"]:
        parts = (
            b"phase-job-id-1",
            b"\0",
            vector["client"].encode(),
            b"\0",
            bytes.fromhex(vector["nonce"]),
            bytes.fromhex(vector["job_digest"].removeprefix("sha256:")),
        )
        assert hashlib.sha256(b"".join(parts)).hexdigest()[:32] == vector["job_id"]


def test_peer_ids_follow_from_the_text(vectors: Vectors) -> None:
    for vector in vectors("identities")["valid"]:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"])).public_key().public_bytes_raw()
        assert key_of_peer(vector["peer_id"]) == key
        der = base64.b64decode("".join(vector["private_key_pem"].splitlines()[1:-1]))
        assert der.hex() == "302e020100300506032b657004220420" + vector["seed"]


def test_receipts_are_proven_by_the_text_alone(vectors: Vectors) -> None:
    for vector in vectors("receipts")["valid"]:
        text = vector["envelope"].encode()
        envelope = json.loads(text)
        (signature,) = envelope["signatures"]
        payload, proof = base64.b64decode(envelope["payload"]), base64.b64decode(signature["sig"])
        rebuilt = envelope | {
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": vector["node"], "sig": base64.b64encode(proof).decode()}],
        }
        assert len(text) <= 262144
        assert sorted(envelope) == ["payload", "payloadType", "signatures"]
        assert jcs(rebuilt) == text
        assert signature["keyid"] == vector["node"]

        kind = "application/vnd.in-toto+json"
        assert envelope["payloadType"] == kind
        signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
        key = Ed25519PublicKey.from_public_bytes(key_of_peer(vector["node"]))
        key.verify(proof, signed)
        with pytest.raises(InvalidSignature):
            key.verify(proof, signed + b" ")

        statement = json.loads(payload)
        assert jcs(statement) == payload
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == "urn:phase:receipt:1"
        predicate = statement["predicate"]
        assert predicate["node"] == vector["node"]
        outputs = {subject["name"]: "sha256:" + subject["digest"]["sha256"] for subject in statement["subject"]}
        assert [subject["name"] for subject in statement["subject"]] == sorted(outputs)
        result = {
            "exitCode": predicate["exitCode"],
            "outputs": sorted_pairs(outputs),
            "type": "urn:phase:result:1",
            "verdict": predicate["verdict"],
        }
        assert digest(jcs(result)) == predicate["resultDigest"]
        assert (predicate["exitCode"] is not None) == (predicate["verdict"] == "exited")

        job = vector["job"]
        document = job_document(job)
        assert predicate["jobDigest"] == digest(jcs(document))
        assert predicate["moduleDigest"] == digest(bytes.fromhex(vector["module_hex"]))
        assert predicate["inputDigest"] == digest(jcs(input_document(job)))
        assert predicate["stdinDigest"] == digest(bytes.fromhex(vector["stdin_hex"]))
        assert predicate["limits"] == {"fuel": None} | document["limits"]
        assert predicate["nonce"] == vector["nonce"]
        assert predicate["client"] == vector["client"]
        assert outputs["stdout"] == digest(bytes.fromhex(vector["stdout_hex"]))
        assert outputs["stderr"] == digest(bytes.fromhex(vector["stderr_hex"]))
        files = {f"out/{path}": digest(bytes.fromhex(content)) for path, content in vector["files_hex"].items()}
        assert outputs == files | {name: outputs[name] for name in ("stdout", "stderr")}


def test_results_follow_from_the_text(vectors: Vectors) -> None:
    for vector in vectors("jobs")["results"]:
        document = {
            "exitCode": vector["exit_code"],
            "outputs": sorted_pairs(vector["outputs"]),
            "type": "urn:phase:result:1",
            "verdict": vector["verdict"],
        }
        assert jcs(document).decode() == vector["canonical"]
        assert digest(jcs(document)) == vector["digest"]
