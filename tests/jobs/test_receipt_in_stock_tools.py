"""A receipt is read and verified by tools that know nothing of Plasm."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from plasm.ports import Outcome, Verdict
from plasm.testing import FakeSigner
from tests.jobs.world import receipt_for, submission

NODE = FakeSigner(1)
SUBMITTED = submission(stdin=b"in")
RECEIPT = receipt_for(
    SUBMITTED.job,
    signer=NODE,
    client=FakeSigner(2).peer,
    nonce=bytes(16),
    outcome=Outcome(verdict=Verdict.EXITED, exit_code=0, stdout=b"dlroW ,olleH"),
)


def key_of(signer: FakeSigner) -> SSlibKey:
    return SSlibKey(signer.peer, "ed25519", "ed25519", {"public": signer.public_key.hex()})


def test_securesystemslib_reads_and_verifies_it():
    envelope = Envelope.from_dict(json.loads(RECEIPT))
    assert envelope.payload_type == "application/vnd.in-toto+json"
    assert [*envelope.verify([key_of(NODE)], 1)] == [NODE.peer]


def test_securesystemslib_refuses_it_with_the_key_of_another():
    stranger = SSlibKey(NODE.peer, "ed25519", "ed25519", {"public": FakeSigner(9).public_key.hex()})
    with pytest.raises(VerificationError):
        Envelope.from_dict(json.loads(RECEIPT)).verify([stranger], 1)


def test_the_in_toto_attestation_library_finds_a_valid_statement():
    payload = base64.b64decode(json.loads(RECEIPT)["payload"])
    statement = Statement.copy_from_pb(json_format.Parse(payload, StatementMessage()))
    statement.validate()
    assert statement.pb.predicate_type == "urn:phase:receipt:1"
    outputs = {subject.name: subject.digest["sha256"] for subject in statement.pb.subject}
    assert outputs["stdout"] == hashlib.sha256(b"dlroW ,olleH").hexdigest()
    assert statement.pb.predicate["jobDigest"] == SUBMITTED.job.digest()
