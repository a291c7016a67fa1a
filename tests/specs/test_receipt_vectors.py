"""The code holds to the vectors of receipts, and the text of the specification shows one of them."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from plasm.identity import public_key
from plasm.jobs.manifest import Job, sha256
from plasm.jobs.receipt import (
    PAYLOAD_TYPE,
    ReceiptRefused,
    Statement,
    hold_against,
    pre_authentication_encoding,
    verify_receipt,
)
from plasm.ports import Digest, PeerId

Vectors = Callable[[str], dict[str, Any]]
Schema = Callable[..., jsonschema.Draft202012Validator]


def accept(envelope: bytes, held: dict[str, Any]) -> Statement:
    """What a client does with a result; `held` is what it kept, in the words of the vectors."""
    statement = verify_receipt(envelope, PeerId(held["node"]))
    job = msgspec.convert(held["job"], Job)
    hold_against(
        statement,
        job=job,
        runtime=held.get("runtime"),
        nonce=bytes.fromhex(held["nonce"]),
        client=PeerId(held["client"]),
        module=Digest(job.manifest.module_hash),
        stdin=Digest(job.stdin),
        outputs={
            "stdout": bytes.fromhex(held["stdout_hex"]),
            "stderr": bytes.fromhex(held["stderr_hex"]),
            **{f"out/{path}": bytes.fromhex(content) for path, content in held["files_hex"].items()},
        },
    )
    return statement


def envelope_of(vector: dict[str, Any]) -> bytes:
    if "envelope_hex" in vector:
        return bytes.fromhex(vector["envelope_hex"])
    if "parts" in vector:
        parts = (part["repeat"] * part["times"] if isinstance(part, dict) else part for part in vector["parts"])
        return "".join(parts).encode()
    return str(vector["envelope"]).encode()


def test_valid_receipts_prove_what_they_are_held_against(vectors: Vectors) -> None:
    for vector in vectors("receipts")["valid"]:
        statement = accept(vector["envelope"].encode(), vector)
        assert json.loads(msgspec.json.encode(statement)) == json.loads(vector["statement"]), vector["name"]


def test_valid_receipts_sign_what_stands_beside_them(vectors: Vectors) -> None:
    for vector in vectors("receipts")["valid"]:
        payload = base64.b64decode(json.loads(vector["envelope"])["payload"])
        assert payload.decode() == vector["statement"]
        assert pre_authentication_encoding(PAYLOAD_TYPE, payload).hex() == vector["signed_hex"]
        assert sha256(bytes.fromhex(vector["module_hex"])) == vector["job"]["manifest"]["module_hash"]
        assert sha256(bytes.fromhex(vector["stdin_hex"])) == vector["job"]["stdin"]


def test_every_invalid_receipt_is_refused(vectors: Vectors) -> None:
    first = vectors("receipts")["valid"][0]
    for vector in vectors("receipts")["invalid"]:
        with pytest.raises(ReceiptRefused) as refusal:
            accept(envelope_of(vector), first | vector.get("held_against", {}))
            pytest.fail(vector["why"])
        assert "\n" not in str(refusal.value)
        assert str(refusal.value).isprintable()


def test_genuine_receipts_about_something_else_verify_and_are_refused_all_the_same(vectors: Vectors) -> None:
    first = vectors("receipts")["valid"][0]
    about = [vector for vector in vectors("receipts")["invalid"] if "held_against" in vector]
    assert len(about) > 8
    for vector in about:
        if "node" not in vector["held_against"]:
            verify_receipt(envelope_of(vector), PeerId(first["node"]))


def test_the_schemas_take_valid_receipts(vectors: Vectors, schema: Schema) -> None:
    for vector in vectors("receipts")["valid"]:
        schema("receipt-envelope").validate(json.loads(vector["envelope"]))
        schema("receipt-statement").validate(json.loads(vector["statement"]))


@pytest.mark.parametrize(
    "why",
    [
        "a member more",
        "a member of the signature more",
        "no signature",
        "the signature twice",
        "another payload type",
        "a signature of 63 bytes",
        "a number for a payload",
        "the key named by its did:key",
    ],
)
def test_the_schema_refuses_envelopes_of_another_shape(vectors: Vectors, schema: Schema, why: str) -> None:
    (vector,) = (each for each in vectors("receipts")["invalid"] if each["why"] == why)
    assert not schema("receipt-envelope").is_valid(json.loads(envelope_of(vector)))


@pytest.mark.parametrize(
    "why",
    [
        "the statement has a member more",
        "the predicate has a member more",
        "the predicate lacks a member",
        "another version of in-toto's statement",
        "another predicate",
        "an exit code above 255",
        "a verdict that is not known",
        "a nonce in capitals",
        "a digest without its algorithm",
        "a number below zero",
        "a number of 2^53",
        "an output is missing",
        "a subject by another hash",
    ],
)
def test_the_schema_refuses_statements_of_another_shape(vectors: Vectors, schema: Schema, why: str) -> None:
    (vector,) = (each for each in vectors("receipts")["invalid"] if each["why"] == why)
    payload = base64.b64decode(json.loads(envelope_of(vector))["payload"])
    assert not schema("receipt-statement").is_valid(json.loads(payload))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_example_in_the_text_is_the_first_vector(vectors: Vectors, text: Callable[[str], str]) -> None:
    first = vectors("receipts")["valid"][0]
    envelope, statement = blocks(text("receipt.md"), "json")
    assert envelope.rstrip("\n") == first["envelope"]
    assert json.loads(statement) == json.loads(first["statement"])
    length = len(first["statement"].encode())
    assert f"DSSEv1 28 {PAYLOAD_TYPE} {length} " in text("receipt.md")


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_program_in_the_text_tells_genuine_from_forged(
    vectors: Vectors, text: Callable[[str], str], tmp_path: Path
) -> None:
    (program,) = blocks(text("receipt.md"), "js")
    (tmp_path / "check.mjs").write_text(program)
    first = vectors("receipts")["valid"][0]
    (forged,) = (each for each in vectors("receipts")["invalid"] if each["why"] == "a bit of the signature changed")
    for name, envelope in (("genuine", first["envelope"]), ("forged", forged["envelope"])):
        (tmp_path / name).write_text(envelope)
    key = public_key(first["node"]).hex()

    def check(name: str) -> subprocess.CompletedProcess[str]:
        command = ["node", "check.mjs", name, key]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    genuine = check("genuine")
    assert (genuine.returncode, genuine.stdout.rstrip("\n")) == (0, first["statement"])
    assert check("forged").returncode != 0
