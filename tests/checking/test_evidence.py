"""Evidence: two receipts that contradict each other, checked offline by anyone, in one form alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.checking.evidence import (
    MAX_AGREEING,
    MAX_EVIDENCE_BYTES,
    EvidenceRefused,
    check_evidence,
    make_evidence,
)
from plasm.jobs.manifest import canonical_json
from plasm.ports import Verdict
from tests.checking.said import ENGINE, OTHER_ENGINE, OTHER_JOB, ended, exited, node, receipt

SCHEMA = Path(__file__).parents[2] / "specs" / "schemas" / "evidence.json"
TRUE, LIE = receipt(exited(b"true"), by=1), receipt(exited(b"lie"), by=2, engine=OTHER_ENGINE)
THIRD = receipt(exited(b"true"), by=3)
EVIDENCE = make_evidence(TRUE, LIE, [THIRD])


def refused(evidence: bytes, why: str) -> None:
    with pytest.raises(EvidenceRefused, match=why) as caught:
        check_evidence(evidence)
    assert str(caught.value).isprintable()


def written(receipts, agreeing=()) -> bytes:
    """The file as it would be written, whatever stands in it."""
    document = {
        "agreeing": [json.loads(each) for each in sorted(agreeing)],
        "receipts": [json.loads(each) for each in sorted(receipts)],
        "type": "urn:phase:evidence:1",
    }
    return canonical_json(document)


def test_two_contradicting_receipts_are_a_finding_about_both_nodes():
    finding = check_evidence(make_evidence(TRUE, LIE))
    assert set(finding.nodes) == {node(1), node(2)}
    assert finding.differs == ("stdout",)
    assert not finding.self_contradiction
    assert not finding.same_engine
    assert finding.odd_one is None


def test_the_order_in_which_receipts_come_does_not_matter():
    assert make_evidence(LIE, TRUE, [THIRD]) == EVIDENCE


def test_the_file_is_canonical_json_with_the_receipts_as_they_are():
    assert canonical_json(json.loads(EVIDENCE)) == EVIDENCE
    assert all(each in EVIDENCE for each in (TRUE, LIE, THIRD))
    assert written([TRUE, LIE], [THIRD]) == EVIDENCE


def test_a_third_node_that_agrees_says_which_one_is_odd():
    lie = receipt(exited(b"lie"), by=2)
    assert check_evidence(make_evidence(TRUE, lie, [THIRD])).odd_one == node(2)
    other_side = make_evidence(TRUE, lie, [receipt(exited(b"lie"), by=3, engine=OTHER_ENGINE)])
    assert check_evidence(other_side).odd_one == node(1)


def test_nodes_of_another_engine_name_no_odd_one():
    assert check_evidence(EVIDENCE).odd_one is None
    other_side = make_evidence(TRUE, LIE, [receipt(exited(b"lie"), by=3, engine=OTHER_ENGINE)])
    assert check_evidence(other_side).odd_one is None


def test_a_third_node_of_the_odd_ones_own_engine_names_it():
    third = receipt(exited(b"true"), by=3, engine=OTHER_ENGINE)
    assert check_evidence(make_evidence(TRUE, LIE, [third])).odd_one == node(2)


def test_thirds_on_both_sides_name_nobody():
    finding = check_evidence(make_evidence(TRUE, LIE, [THIRD, receipt(exited(b"lie"), by=4)]))
    assert sorted(map(len, finding.agreeing)) == [1, 1]
    assert finding.odd_one is None


@pytest.mark.parametrize(
    "engine",
    [
        OTHER_ENGINE,
        replace(ENGINE, version="50.0.2"),
        replace(ENGINE, configuration={**ENGINE.configuration, "fuel": False}),
        replace(ENGINE, configuration={**ENGINE.configuration, "fuel": 1}),
    ],
    ids=["name", "version", "configuration", "a number for a flag"],
)
def test_a_node_whose_engines_differ_does_not_contradict_itself(engine):
    finding = check_evidence(make_evidence(TRUE, receipt(exited(b"lie"), by=1, engine=engine)))
    assert finding.one_node
    assert not finding.self_contradiction
    assert finding.odd_one is None


def test_a_node_is_not_made_odd_by_itself():
    finding = check_evidence(make_evidence(TRUE, receipt(exited(b"lie"), by=1), [THIRD]))
    assert finding.self_contradiction
    assert finding.odd_one is None


def test_a_node_that_contradicts_itself_needs_no_other():
    finding = check_evidence(make_evidence(TRUE, receipt(exited(b"lie"), by=1, nonce=bytes([7]) * 16)))
    assert finding.self_contradiction
    assert finding.same_engine


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (THIRD, "do not contradict each other: same"),
        (TRUE, "do not contradict each other: same"),
        (receipt(exited(b"lie"), by=2, job=OTHER_JOB), "different jobs"),
        (receipt(exited(b"lie", reproducible=False), by=2), "real clock"),
        (receipt(ended(Verdict.TIMED_OUT), by=2), "timed_out depends"),
        (receipt(ended(Verdict.OUT_OF_FUEL), by=2, engine=OTHER_ENGINE), "same engine"),
        (receipt(ended(Verdict.TRAPPED, trap="stack_overflow"), by=2), "stack_overflow"),
    ],
)
def test_receipts_that_do_not_contradict_are_no_evidence(other, why):
    with pytest.raises(EvidenceRefused, match=why):
        make_evidence(TRUE, other)
    refused(written([TRUE, other]), why)


@pytest.mark.parametrize(
    ("third", "why"),
    [
        (receipt(exited(b"neither"), by=3), "agrees with neither"),
        (receipt(exited(b"true"), by=3, job=OTHER_JOB), "agrees with neither"),
        (receipt(ended(Verdict.TIMED_OUT), by=3), "agrees with neither"),
        (receipt(exited(b"true"), by=1, nonce=bytes([7]) * 16), "by a node that has another receipt"),
        (receipt(exited(b"true"), by=2, nonce=bytes([7]) * 16), "by a node that has another receipt"),
    ],
)
def test_a_third_receipt_that_supports_nobody_is_refused(third, why):
    refused(written([TRUE, LIE], [third]), why)


def test_one_node_does_not_agree_twice():
    refused(written([TRUE, LIE], [THIRD, receipt(exited(b"true"), by=3, nonce=bytes([7]) * 16)]), "another receipt")


def test_thirds_are_bounded():
    thirds = [receipt(exited(b"true"), by=10 + number) for number in range(MAX_AGREEING + 1)]
    assert len(check_evidence(make_evidence(TRUE, LIE, thirds[1:])).agreeing[0]) in (0, MAX_AGREEING)
    refused(written([TRUE, LIE], thirds), "not a file of evidence")


def test_a_receipt_under_anothers_name_is_refused():
    forged = json.loads(LIE)
    forged["signatures"][0]["keyid"] = node(5)
    refused(written([TRUE, canonical_json(forged)]), "a receipt in it is refused")


def test_a_receipt_signed_with_a_key_of_its_own_for_anothers_node_is_refused():
    forged = json.loads(receipt(exited(b"lie"), by=5))
    forged["payload"] = json.loads(LIE)["payload"]
    refused(written([TRUE, canonical_json(forged)]), "a receipt in it is refused")


def test_a_changed_byte_is_refused():
    taken = []
    # All around the receipts, and every seventh byte of theirs: their own tests change each bit.
    inside = {at for each in (TRUE, LIE, THIRD) for at in range(EVIDENCE.index(each), EVIDENCE.index(each) + len(each))}
    for position in (at for at in range(len(EVIDENCE)) if at not in inside or at % 7 == 0):
        changed = bytearray(EVIDENCE)
        changed[position] ^= 1
        try:
            check_evidence(bytes(changed))
        except EvidenceRefused:
            continue
        taken.append(position)
    assert taken == []


@pytest.mark.parametrize("cut", [0, 1, 100, len(EVIDENCE) - 1])
def test_a_cut_file_is_refused(cut):
    refused(EVIDENCE[:cut], "not a file of evidence")


@pytest.mark.parametrize(
    "changed",
    [
        EVIDENCE + b"\n",
        b" " + EVIDENCE,
        EVIDENCE.replace(b'"receipts":[', b'"receipts":[ '),
        EVIDENCE[:-1] + b',"note":"x"}',
        EVIDENCE.replace(b"evidence:1", b"evidence:2"),
        json.dumps(json.loads(EVIDENCE)).encode(),
        canonical_json({**json.loads(EVIDENCE), "receipts": json.loads(EVIDENCE)["receipts"][:1]}),
        canonical_json({**json.loads(EVIDENCE), "receipts": json.loads(EVIDENCE)["receipts"][::-1]}),
        canonical_json({**json.loads(EVIDENCE), "agreeing": json.loads(EVIDENCE)["agreeing"] * 2}),
        b"[" * 100_000,
        b"{}",
        b"null",
    ],
)
def test_any_other_form_is_refused(changed):
    refused(changed, "canonical form|not a file of evidence|another receipt")


def test_a_file_over_the_cap_is_not_read():
    refused(b" " * (MAX_EVIDENCE_BYTES + 1), "over the cap")


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused(data):
    with pytest.raises(EvidenceRefused):
        check_evidence(data)


def test_the_schema_takes_a_file_and_refuses_another_shape():
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    document = json.loads(EVIDENCE)
    validator.validate(document)
    for changed in (
        document | {"note": "x"},
        document | {"type": "urn:phase:evidence:2"},
        document | {"receipts": document["receipts"] * 2},
        document | {"agreeing": document["agreeing"] * (MAX_AGREEING + 1)},
        document | {"receipts": ["x", "y"]},
    ):
        assert not validator.is_valid(changed)


def test_evidence_across_engines_says_so():
    same = make_evidence(TRUE, receipt(exited(b"lie"), by=2, engine=ENGINE))
    assert check_evidence(same).same_engine
