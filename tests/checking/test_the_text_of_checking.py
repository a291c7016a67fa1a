"""What the code has stands in specs/checking.md, so that neither changes without the other."""

from __future__ import annotations

import re
from pathlib import Path

from plasm_cell import wasi

from plasm.checking.comparing import (
    BOUND_TO_THE_ENGINE,
    DETERMINISTIC_TRAPS,
    KNOWN_RULES,
    NOT_REPEATABLE,
    RULES_OF_THE_HOST,
)
from plasm.checking.evidence import EVIDENCE_TYPE
from plasm.checking.ledger import MAX_PEERS
from plasm.checking.quorum import MAX_NODES
from plasm.checking.selection import UNKNOWN_SHARE
from plasm.checking.standing import LEAST_CHECKED, TRUSTED_AFTER, Deed
from plasm.checking.summary import SUMMARY_TYPE
from plasm.jobs.receipt import TRAPS
from plasm.ports import Verdict

SPECS = Path(__file__).parents[2] / "specs"
TEXT = (SPECS / "checking.md").read_text()


def section(number: int) -> str:
    return TEXT.split("\n## ")[number]


def test_every_verdict_and_trap_of_the_rules_is_named():
    named = set(re.findall(r"`(\w+)`", section(1)))
    assert {*NOT_REPEATABLE, *BOUND_TO_THE_ENGINE, Verdict.TRAPPED, *DETERMINISTIC_TRAPS, RULES_OF_THE_HOST} <= named
    assert "`stack_overflow`" not in section(1)


def test_the_rules_that_a_client_knows_are_those_of_this_release():
    """So that the answers of its own nodes count for something."""
    assert f"rules is `{KNOWN_RULES}`" in (SPECS / "wasi.md").read_text()
    assert wasi.VERSION == KNOWN_RULES


def test_the_traps_that_repeat_are_traps_of_receipts():
    assert DETERMINISTIC_TRAPS < TRAPS
    listed = (SPECS / "receipt.md").read_text().partition("\nTraps: ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == TRAPS


def test_every_counter_of_the_ledger_is_named():
    assert re.findall(r"^\| `(\w+)` \|", section(5), re.MULTILINE) == [
        "answered", "agreed", "undecided", "contradicted", "lied", "timed_out", "refused"
    ]  # fmt: skip
    assert {deed.counter for deed in Deed} == set(re.findall(r"^\| `(\w+)` \|", section(5), re.MULTILINE))


def test_the_constants_stand_in_the_text():
    assert f"below {TRUSTED_AFTER};" in section(5)
    assert f"less than 1/{1 / LEAST_CHECKED:.0f}" in section(5)
    assert f"probability 1/{1 / UNKNOWN_SHARE:.0f}," in section(5)
    assert f"{MAX_PEERS} peers" in section(5)
    assert f"up to {MAX_NODES} in all" in section(2)
    assert EVIDENCE_TYPE in section(3)
    assert SUMMARY_TYPE in section(4)
