"""The verification summary: stock tools read it, verify it, and find what was checked by whom."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.vsa.v1.vsa_pb2 import VerificationSummary
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from plasm.checking.summary import SUMMARY_TYPE, make_summary, quorum, reexecution
from plasm.identity import did_key
from plasm.jobs.receipt import ReceiptRefused
from plasm.testing import FakeSigner
from tests.checking.said import exited, node, receipt

VERIFIER = FakeSigner(7)
RECEIPT, AGAIN = receipt(by=1), receipt(exited(b"other"), by=2)
WHEN = datetime.datetime(2026, 5, 6, 7, 8, 9, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))


def summary(*, passed: bool = True, **changes: object) -> bytes:
    about = {"policy": reexecution("wasmer"), "against": [AGAIN], "signer": VERIFIER, "verifier": VERIFIER.peer}
    return make_summary(RECEIPT, passed=passed, verified=WHEN, **{**about, **changes})


def key_of(signer: FakeSigner) -> SSlibKey:
    return SSlibKey(VERIFIER.peer, "ed25519", "ed25519", {"public": signer.public_key.hex()})


def read(envelope: bytes) -> tuple[StatementMessage, VerificationSummary, list[str]]:
    """The statement and its predicate, as the library has them, and the levels."""
    payload = base64.b64decode(json.loads(envelope)["payload"])
    statement = json_format.Parse(payload, StatementMessage())
    Statement.copy_from_pb(statement).validate()
    predicate = json_format.MessageToDict(statement.predicate)
    # The predicate's specification has a list here, and this library's message one text.
    levels = predicate.pop("verifiedLevels")
    # Unknown members are an error here: what is in the predicate has the names that the library knows.
    return statement, json_format.ParseDict(predicate, VerificationSummary()), levels


def test_securesystemslib_verifies_it_with_the_verifiers_key_and_no_other():
    envelope = Envelope.from_dict(json.loads(summary()))
    assert [*envelope.verify([key_of(VERIFIER)], 1)] == [VERIFIER.peer]
    with pytest.raises(VerificationError):
        envelope.verify([key_of(FakeSigner(9))], 1)


def test_the_in_toto_attestation_library_finds_what_was_checked():
    statement, said, levels = read(summary())
    digest = hashlib.sha256(RECEIPT).hexdigest()
    assert statement.predicate_type == SUMMARY_TYPE == "https://slsa.dev/verification_summary/v1"
    assert statement.subject[0].digest["sha256"] == digest
    assert said.verifier.id == did_key(VERIFIER.peer)
    assert said.verification_result == "PASSED"
    assert levels == ["PHASE_RESULT_REPRODUCED"]
    assert said.resource_uri.endswith(digest)
    assert node(1) in said.resource_uri
    assert said.policy.uri == "urn:phase:policy:reexec:1?=engine=wasmer"
    assert said.time_verified.ToJsonString() == "2026-05-06T05:08:09Z"
    assert [each.digest["sha256"] for each in said.input_attestations] == [
        hashlib.sha256(each).hexdigest() for each in (RECEIPT, AGAIN)
    ]


def test_what_failed_is_said_to_have_failed():
    _, said, levels = read(summary(passed=False))
    assert said.verification_result == "FAILED"
    assert levels == ["FAILED"]


def test_a_quorum_is_another_policy():
    _, said, _ = read(summary(policy=quorum(3, 2)))
    assert said.policy.uri == "urn:phase:policy:quorum:1?=replicas=3&quorum=2"


def test_the_name_of_an_engine_cannot_break_out_of_the_policy():
    assert reexecution("a&b=c d#/é").uri == "urn:phase:policy:reexec:1?=engine=a%26b%3Dc+d%23%2F%C3%A9"


def test_what_is_no_receipt_has_no_summary():
    with pytest.raises(ReceiptRefused):
        make_summary(b"{}", passed=True, policy=quorum(2, 2), signer=VERIFIER, verifier=VERIFIER.peer, verified=WHEN)


def test_the_same_check_gives_the_same_bytes():
    assert summary() == summary()
