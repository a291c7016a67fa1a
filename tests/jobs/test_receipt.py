"""Receipts: proven by the key of the node that accepted, about this job and this output, in one form alone."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from plasm.identity import base58_encode, did_key
from plasm.jobs.manifest import canonical_json, sha256
from plasm.jobs.receipt import (
    MAX_RECEIPT_BYTES,
    PAYLOAD_TYPE,
    ReceiptRefused,
    claimed_node,
    hold_against,
    pre_authentication_encoding,
    verify_receipt,
)
from plasm.ports import Outcome, PeerId, Usage, Verdict
from plasm.testing import FakeSigner
from tests.jobs.world import receipt_for, submission

NODE = FakeSigner(1)
CLIENT = FakeSigner(2).peer
SUBMITTED = submission(stdin=b"in", args=["-v"])
JOB = SUBMITTED.job
NONCE = bytes(range(16))
OUTCOME = Outcome(
    verdict=Verdict.EXITED,
    exit_code=3,
    stdout=b"out",
    stderr=b"err",
    usage=Usage(fuel=12, wall_seconds=0.25, cpu_seconds=0.125, peak_memory_bytes=65536),
)
RECEIPT = receipt_for(JOB, signer=NODE, client=CLIENT, nonce=NONCE, outcome=OUTCOME)


def envelope():
    return json.loads(RECEIPT)


def statement():
    return json.loads(base64.b64decode(envelope()["payload"]))


def resigned(payload: bytes, *, signer: FakeSigner = NODE, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """`payload` in a canonical envelope with a true signature."""
    signature = signer.sign(pre_authentication_encoding(payload_type, payload))
    return canonical_json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": signer.peer, "sig": base64.b64encode(signature).decode()}],
        }
    )


def refused(receipt: bytes, why: str | None = None, *, node: PeerId = NODE.peer) -> None:
    with pytest.raises(ReceiptRefused, match=why) as caught:
        verify_receipt(receipt, node)
    assert str(caught.value).isprintable()


def test_a_receipt_is_verified_with_the_key_of_its_node_and_binds_everything():
    proven = verify_receipt(RECEIPT, NODE.peer)
    hold_against(
        proven, job=JOB, nonce=NONCE, client=CLIENT, module=sha256(SUBMITTED.module), stdout=b"out", stderr=b"err"
    )
    said = proven.predicate
    assert (said.verdict, said.exit_code, said.node, said.client) == ("exited", 3, NODE.peer, CLIENT)
    assert (said.usage.fuel, said.usage.wall_microseconds, said.usage.cpu_microseconds) == (12, 250_000, 125_000)
    assert said.limits.timeout_seconds == JOB.manifest.timeout_seconds
    assert said.started_at == "2026-01-02T03:04:05.000000Z"


@pytest.mark.parametrize("hour", ["24", "29"])
def test_an_hour_that_no_day_has_is_refused_whatever_the_version_of_python_takes(hour):
    changed = statement()
    changed["predicate"] |= dict.fromkeys(("startedAt", "finishedAt"), f"2026-03-01T{hour}:00:00.000000Z")
    refused(resigned(canonical_json(changed)), "not a receipt's")


def test_the_same_outcome_signed_again_gives_the_same_bytes():
    assert receipt_for(JOB, signer=NODE, client=CLIENT, nonce=NONCE, outcome=OUTCOME) == RECEIPT


def test_changing_any_bit_is_refused():
    taken = []
    for position in range(len(RECEIPT)):
        for bit in range(8):
            changed = bytearray(RECEIPT)
            changed[position] ^= 1 << bit
            try:
                verify_receipt(bytes(changed), NODE.peer)
            except ReceiptRefused:
                continue
            taken.append((position, bit))
    assert taken == []


def test_a_receipt_cut_anywhere_is_refused():
    for length in range(len(RECEIPT)):
        refused(RECEIPT[:length])


def test_an_added_byte_is_refused():
    refused(RECEIPT + b"\n")
    refused(b" " + RECEIPT)
    refused(RECEIPT + RECEIPT)


def test_a_member_added_to_the_envelope_is_refused():
    refused(canonical_json(envelope() | {"note": "x"}), "not a receipt")


def test_a_member_added_to_the_signature_is_refused():
    changed = envelope()
    changed["signatures"][0]["cert"] = "x"
    refused(canonical_json(changed), "not a receipt")


@pytest.mark.parametrize("where", ["statement", "subject", "digest", "predicate", "engine", "limits", "usage"])
def test_a_member_added_to_what_is_signed_is_refused_even_under_a_true_signature(where):
    changed = statement()
    part = {
        "statement": changed,
        "subject": changed["subject"][0],
        "digest": changed["subject"][0]["digest"],
        "predicate": changed["predicate"],
        "engine": changed["predicate"]["engine"],
        "limits": changed["predicate"]["limits"],
        "usage": changed["predicate"]["usage"],
    }[where]
    part["note"] = "x"
    refused(resigned(canonical_json(changed)), "not a receipt's")


@pytest.mark.parametrize("member", ["payload", "payloadType", "signatures"])
def test_a_member_missing_from_the_envelope_is_refused(member):
    changed = envelope()
    del changed[member]
    refused(canonical_json(changed), "not a receipt")


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("inputDigest", "sha256:" + "A" * 64),
        ("inputDigest", "sha512:" + "a" * 64),
        ("jobDigest", "sha256:" + "g" * 64),
        ("moduleDigest", "sha256:" + "a" * 63),
        ("stdinDigest", "sha256:" + "a" * 63 + "\n"),
        ("nonce", "0" * 31 + "\n"),
        ("nonce", "\u0660" * 32),
        ("startedAt", "2026-03-01T00:00:00.00000\u0660Z"),
        ("finishedAt", "2026-03-01T00:00:00,000000Z"),
    ],
)
def test_a_text_of_another_shape_is_refused_even_under_a_true_signature(member, text):
    changed = statement()
    changed["predicate"][member] = text
    refused(resigned(canonical_json(changed)), "not a receipt's")


@pytest.mark.parametrize("name", ["caf\u00e9", "a\x7f", "a\nb"])
def test_a_setting_of_the_engine_that_is_not_named_in_ascii_is_refused_even_under_a_true_signature(name):
    changed = statement()
    changed["predicate"]["engine"]["configuration"][name] = True
    refused(resigned(canonical_json(changed)), "not a receipt's")


def test_every_member_of_the_predicate_is_needed():
    for member in statement()["predicate"]:
        changed = statement()
        del changed["predicate"][member]
        refused(resigned(canonical_json(changed)), "not a receipt's")


def test_an_envelope_with_its_members_in_another_order_is_refused():
    reordered = json.dumps(dict(reversed(envelope().items())), separators=(",", ":")).encode()
    refused(reordered, "canonical form")


def test_an_envelope_with_white_space_is_refused():
    refused(json.dumps(envelope(), sort_keys=True).encode(), "canonical form")


def test_an_envelope_with_a_member_twice_is_refused():
    refused(RECEIPT[:-1] + b',"payloadType":"application/vnd.in-toto+json"}', "canonical form")


def test_an_envelope_that_writes_a_character_as_an_escape_is_refused():
    refused(RECEIPT.replace(b"payloadType", b"payload\\u0054ype"), "canonical form|not a receipt")


def test_a_statement_that_is_not_canonical_is_refused_even_under_a_true_signature():
    refused(resigned(json.dumps(statement(), sort_keys=True).encode()), "canonical form")
    refused(resigned(json.dumps(dict(reversed(statement().items())), separators=(",", ":")).encode()), "canonical form")


def test_a_number_written_otherwise_is_refused_even_under_a_true_signature():
    text = canonical_json(statement())
    assert b'"exitCode":3,' in text
    refused(resigned(text.replace(b'"exitCode":3,', b'"exitCode":3.0,')))
    refused(resigned(text.replace(b'"exitCode":3,', b'"exitCode":3e0,')))


def test_the_key_of_another_node_does_not_prove_it():
    refused(RECEIPT, "signed by", node=FakeSigner(9).peer)


def test_the_key_inside_a_receipt_is_never_believed():
    forged = receipt_for(JOB, signer=FakeSigner(9), client=CLIENT, nonce=NONCE, outcome=OUTCOME)
    assert claimed_node(forged) == FakeSigner(9).peer
    refused(forged, "signed by")


def test_a_signature_of_another_key_under_this_nodes_name_is_refused():
    forged = receipt_for(JOB, signer=FakeSigner(9), client=CLIENT, nonce=NONCE, node=NODE.peer)
    refused(forged, "signature is not one of")


def test_a_statement_about_another_node_is_refused_even_under_a_true_signature():
    changed = statement()
    changed["predicate"]["node"] = FakeSigner(9).peer
    refused(resigned(canonical_json(changed)), "another node")


def test_a_node_that_is_no_key_is_refused():
    for name in ("", "x", "1" * 1000, "did:key:z6Mk"):
        refused(RECEIPT.replace(NODE.peer.encode(), name.encode()), node=PeerId(name))


@pytest.mark.parametrize(
    ("against", "why"),
    [
        ({"job": submission(stdin=b"other", args=["-v"]).job}, "another job"),
        ({"job": submission(stdin=b"in", args=["-v"], memory_mb=17).job}, "another job"),
        ({"nonce": bytes(16)}, "another nonce"),
        ({"client": FakeSigner(9).peer}, "another client"),
        ({"module": sha256(b"other")}, "another module"),
        ({"stdout": b"Out"}, "another stdout"),
        ({"stderr": b""}, "another stderr"),
    ],
)
def test_a_receipt_that_is_replayed_for_something_else_is_refused(against, why):
    proven = verify_receipt(RECEIPT, NODE.peer)
    with pytest.raises(ReceiptRefused, match=why):
        hold_against(proven, **against)


@pytest.mark.parametrize(
    ("member", "value", "why"),
    [
        ("inputDigest", sha256(b"other input"), "another input"),
        ("moduleDigest", sha256(b"other module"), "another module"),
    ],
)
def test_a_receipt_that_names_this_job_and_other_content_is_refused(member, value, why):
    changed = statement()
    changed["predicate"][member] = value
    proven = verify_receipt(resigned(canonical_json(changed)), NODE.peer)
    with pytest.raises(ReceiptRefused, match=why):
        hold_against(proven, job=JOB)


def test_a_receipt_that_names_this_job_and_other_limits_is_refused():
    changed = statement()
    changed["predicate"]["limits"]["memoryMb"] += 1
    proven = verify_receipt(resigned(canonical_json(changed)), NODE.peer)
    with pytest.raises(ReceiptRefused, match="another limits"):
        hold_against(proven, job=JOB)


def test_two_signatures_are_refused():
    changed = envelope()
    changed["signatures"] *= 2
    refused(canonical_json(changed), "not a receipt")


def test_no_signature_is_refused():
    refused(canonical_json(envelope() | {"signatures": []}), "not a receipt")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.rstrip("="),
        lambda text: text.rstrip("=") + "\n==",
        lambda text: text + "=",
        lambda text: text[:-3] + chr(ord(text[-3]) + 1) + "==",
    ],
    ids=["without padding", "with a line break", "with more padding", "with bits that mean nothing"],
)
def test_base64_that_is_not_strict_is_refused(spoil):
    changed = envelope()
    true = changed["signatures"][0]["sig"]
    changed["signatures"][0]["sig"] = spoil(true)
    assert changed["signatures"][0]["sig"] != true
    refused(canonical_json(changed), "base64")


def test_url_safe_base64_is_refused():
    changed = envelope()
    true = changed["signatures"][0]["sig"]
    changed["signatures"][0]["sig"] = true.replace("+", "-").replace("/", "_")
    assert changed["signatures"][0]["sig"] != true, "this signature has neither + nor /: take another nonce"
    refused(canonical_json(changed), "base64")


def test_another_payload_type_is_refused_even_under_a_true_signature():
    refused(resigned(canonical_json(statement()), payload_type="application/json"), "another type")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"resultDigest": sha256(b"x")}, "result digest"),
        ({"exitCode": 4}, "result digest"),
        ({"verdict": "trapped"}, "result digest"),
        ({"verdict": "won"}, "not a receipt's"),
        ({"exitCode": 256}, "not a receipt's"),
        ({"nonce": "AB" * 16}, "not a receipt's"),
    ],
)
def test_a_statement_that_contradicts_itself_is_refused_even_under_a_true_signature(change, why):
    changed = statement()
    changed["predicate"] |= change
    refused(resigned(canonical_json(changed)), why)


def test_outputs_out_of_order_or_twice_are_refused_even_under_a_true_signature():
    changed = statement()
    changed["subject"].reverse()
    refused(resigned(canonical_json(changed)), "outputs")
    changed["subject"] = [changed["subject"][0]] * 2
    refused(resigned(canonical_json(changed)), "outputs")


def test_a_receipt_over_the_cap_is_refused_unread():
    refused(b"[" * (MAX_RECEIPT_BYTES + 1), "over the cap")


def test_deep_nesting_is_refused_and_breaks_nothing():
    refused(b"[" * MAX_RECEIPT_BYTES)
    refused(b'{"payload":' * (MAX_RECEIPT_BYTES // 11))
    refused(resigned(b'{"predicate":' * 3000))


def test_an_outcome_that_no_other_run_must_repeat_is_not_called_reproducible():
    for verdict in Verdict:
        code = 0 if verdict is Verdict.EXITED else None
        receipt = receipt_for(
            JOB, signer=NODE, client=CLIENT, nonce=NONCE, outcome=Outcome(verdict=verdict, exit_code=code)
        )
        assert verify_receipt(receipt, NODE.peer).predicate.reproducible is verdict.repeatable


def changes_of(value):
    """Another value for each place in a document, by name, number or text, one at a time."""
    odd = [None, True, 1.5, -1, 2**53, "", "x", "\x1b[2J", [], {}]
    for key in value if isinstance(value, dict) else range(len(value)):
        if isinstance(value[key], dict | list):
            for changed in changes_of(value[key]):
                yield (key, *changed)
        for other in odd:
            if type(other) is not type(value[key]) or other != value[key]:
                yield (key, other)


def test_whatever_stands_in_a_statement_is_what_it_says_when_it_is_read_again():
    """Canonical and signed by the node itself: only free text, or a null that may be, is taken in another's place."""
    taken = set()
    for *path, other in changes_of(statement()):
        changed = part = statement()
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = other
        receipt = resigned(canonical_json(changed))
        try:
            proven = verify_receipt(receipt, NODE.peer)
        except ReceiptRefused:
            continue
        assert canonical_json(proven) == canonical_json(changed)
        taken.add((".".join(map(str, path[1:])), type(other).__name__))
    assert taken == {
        ("engine.name", "str"),
        ("engine.version", "str"),
        ("isolation", "str"),
        ("usage.fuel", "NoneType"),
        ("usage.peakMemoryBytes", "NoneType"),
    }


def test_a_signature_by_anybody_for_a_key_of_small_order_is_refused():
    base_point, once = b"\x58" + b"\x66" * 31, b"\1" + bytes(31)
    nobody = base58_encode(bytes.fromhex("002408011220") + b"\1" + bytes(31))
    changed = statement()
    changed["predicate"]["node"] = nobody
    payload = canonical_json(changed)
    signed = pre_authentication_encoding(PAYLOAD_TYPE, payload)
    Ed25519PublicKey.from_public_bytes(b"\1" + bytes(31)).verify(base_point + once, signed)
    forged = envelope() | {
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": nobody, "sig": base64.b64encode(base_point + once).decode()}],
    }
    refused(canonical_json(forged), "not the peer ID", node=PeerId(nobody))


def test_one_key_has_one_name_in_receipts():
    named = did_key(NODE.peer)
    changed = statement()
    changed["predicate"]["node"] = named
    renamed = json.loads(resigned(canonical_json(changed)))
    renamed["signatures"][0]["keyid"] = named
    refused(canonical_json(renamed), "not the peer ID", node=PeerId(named))
    refused(canonical_json(renamed), "signed by")


def test_the_runtime_that_was_asked_for_is_held_against_the_receipt():
    proven = verify_receipt(RECEIPT, NODE.peer)
    hold_against(proven, runtime="scripted")
    with pytest.raises(ReceiptRefused, match="another runtime"):
        hold_against(proven, runtime="wasm3")


@pytest.mark.parametrize("capabilities", [(), ("clock",), ("random",)])
def test_only_a_job_that_asks_for_it_may_have_an_outcome_that_cannot_be_repeated(capabilities):
    job = submission(capabilities=capabilities).job
    outcome = replace(OUTCOME, reproducible=False)
    receipt = receipt_for(job, signer=NODE, client=CLIENT, nonce=NONCE, outcome=outcome)
    proven = verify_receipt(receipt, NODE.peer)
    if capabilities:
        hold_against(proven, job=job)
        return
    with pytest.raises(ReceiptRefused, match="not reproducible"):
        hold_against(proven, job=job)


@pytest.mark.parametrize("verdict", [Verdict.TIMED_OUT, Verdict.CELL_DIED])
def test_an_outcome_of_the_machine_needs_no_capability(verdict):
    receipt = receipt_for(JOB, signer=NODE, client=CLIENT, nonce=NONCE, outcome=Outcome(verdict=verdict))
    hold_against(verify_receipt(receipt, NODE.peer), job=JOB)


def test_a_job_without_a_limit_of_fuel_does_not_run_out_of_it():
    for fuel in (None, 5):
        job = submission(fuel=fuel).job
        outcome = Outcome(verdict=Verdict.OUT_OF_FUEL)
        proven = verify_receipt(receipt_for(job, signer=NODE, client=CLIENT, nonce=NONCE, outcome=outcome), NODE.peer)
        if fuel:
            hold_against(proven, job=job)
            continue
        with pytest.raises(ReceiptRefused, match="fuel"):
            hold_against(proven, job=job)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_and_nothing_worse(data):
    refused(data)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_under_a_true_signature_are_refused_and_nothing_worse(data):
    refused(resigned(data))


@given(st.data())
def test_a_receipt_spoiled_anywhere_is_refused(data):
    start = data.draw(st.integers(0, len(RECEIPT) - 1))
    end = data.draw(st.integers(start, min(len(RECEIPT), start + 40)))
    spoiled = RECEIPT[:start] + data.draw(st.binary(max_size=40)) + RECEIPT[end:]
    if spoiled != RECEIPT:
        refused(spoiled)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_any_text_in_an_envelope_is_refused_and_nothing_worse(payload, keyid, signature):
    text = {"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": keyid, "sig": signature}]}
    for node in (NODE.peer, PeerId(keyid)):
        with pytest.raises(ReceiptRefused):
            verify_receipt(json.dumps(text).encode(), node)
        with pytest.raises(ReceiptRefused):
            verify_receipt(json.dumps(text, separators=(",", ":"), ensure_ascii=False).encode(errors="replace"), node)
