"""The ledger notices what was lost, what is wrong and what has changed."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from plasm.jobs.conversation import Delivered
from plasm.jobs.receipt import make_statement, outputs_of
from plasm.ports import Engine, Outcome, PeerId, Usage, Verdict
from tests.soak.cases import KINDS, Case, Deck
from tests.soak.figures import CellFigures, Figures, KillFigures
from tests.soak.ledger import Ledger

ID = "ab" * 16
CLIENT, NODE = PeerId("client"), PeerId("node")


@pytest.fixture
def case() -> Case:
    return Deck("run").case("hello", 7)


@pytest.fixture
def ledger(case: Case) -> Ledger:
    ledger = Ledger()
    ledger.accepted(ID, case, client=0, kills=2)
    return ledger


def result_of(case: Case, *, verdict: Verdict | None = None, stdout: bytes | None = None) -> Delivered:
    verdict = verdict or case.verdict
    outcome = Outcome(
        verdict=verdict,
        exit_code=case.exit_code if verdict is Verdict.EXITED else None,
        files=case.files,
        stdout=case.stdout or b"" if stdout is None else stdout,
        usage=Usage(wall_seconds=1, cpu_seconds=1),
    )
    now = datetime.datetime.now(datetime.UTC)
    statement = make_statement(
        job=case.submission.job,
        outcome=outcome,
        engine=Engine(name="engine", version="1", configuration={}),
        isolation="cell",
        node=NODE,
        client=CLIENT,
        nonce=case.submission.nonce,
        started=now,
        finished=now,
    )
    return Delivered(job_id=ID, node=NODE, statement=statement, receipt=b"receipt", outputs=outputs_of(outcome))


def found(ledger: Ledger, case: Case, result: Delivered | str, kills: int = 3) -> list[str]:
    return [each.what for each in ledger.hold_against(ID, case, result, kills)]


def test_a_job_that_came_back_is_in_order(ledger: Ledger, case: Case) -> None:
    assert found(ledger, case, result_of(case)) == []
    assert ledger.missing({ID: None}) == []


def test_a_job_that_the_node_does_not_know_is_lost(ledger: Ledger, case: Case) -> None:
    assert found(ledger, case, "UnknownJob: never accepted, or kept no longer") == ["lost"]


def test_a_job_that_nobody_asked_for_at_the_end_is_lost(ledger: Ledger) -> None:
    assert [each.what for each in ledger.missing({})] == ["lost"]


def test_another_jobs_output_is_wrong(ledger: Ledger, case: Case) -> None:
    other = Deck("run").case("hello", 8)
    assert found(ledger, case, result_of(other)) == ["wrong"]


def test_another_jobs_verdict_is_wrong(ledger: Ledger, case: Case) -> None:
    assert "wrong" in found(ledger, case, result_of(case, verdict=Verdict.TIMED_OUT))


def test_a_job_that_was_run_again_after_it_was_delivered_has_changed(ledger: Ledger, case: Case) -> None:
    first = result_of(case)
    ledger.delivered(first, kills=3)
    assert found(ledger, case, first) == []
    assert found(ledger, case, replace(first, receipt=b"another")) == ["changed"]


def test_three_kills_excuse_a_node_that_gave_a_job_up(ledger: Ledger, case: Case) -> None:
    died = result_of(case, verdict=Verdict.CELL_DIED, stdout=b"")
    assert "wrong" in found(ledger, case, died, kills=4)
    assert found(ledger, case, died, kills=5) == []
    assert ledger.given_up == {ID}


def test_kills_after_a_job_was_delivered_excuse_nothing(ledger: Ledger, case: Case) -> None:
    died = result_of(case, verdict=Verdict.CELL_DIED, stdout=b"")
    ledger.delivered(died, kills=4)
    assert "wrong" in found(ledger, case, died, kills=9)


def test_another_jobs_files_are_wrong() -> None:
    case, other = (Deck("run").case("files", number) for number in (7, 8))
    ledger = Ledger()
    ledger.accepted(ID, case, client=0, kills=0)
    assert found(ledger, case, result_of(case)) == []
    assert found(ledger, case, result_of(replace(case, files=other.files))) == ["wrong"]


def test_cells_that_were_killed_without_loss_have_passed_and_a_leftover_has_not() -> None:
    cells = CellFigures(submitted=1, accepted=1, delivered=1, asked_again=1)
    assert not Figures(cells=cells).passed
    cells.kills["run cell"] += 1
    assert Figures(cells=cells).as_document()["passed"]
    cells.left_over.append("process 7")
    assert not Figures(cells=cells).as_document()["cells"]["passed"]
    assert "process 7" in Figures(cells=cells).as_table()


def test_a_soak_with_a_lost_job_has_failed_and_says_so(ledger: Ledger) -> None:
    kill = KillFigures(kills=1, submitted=1, accepted=1, delivered=1, asked_again=1)
    assert Figures(kill=kill).as_document()["passed"]
    kill.discrepancies += ledger.missing({})
    document = Figures(kill=kill).as_document()
    assert not document["passed"]
    assert document["kill"]["lost"] == 1
    assert ID in Figures(kill=kill).as_table()


def test_a_soak_that_asked_for_less_than_was_accepted_has_failed() -> None:
    assert not KillFigures(kills=1, submitted=2, accepted=2, delivered=1, asked_again=1).passed


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_can_be_made_again_from_its_kind_and_number(kind: str) -> None:
    first, second = (Deck("run").case(kind, 3) for _ in range(2))
    assert first == second
    first.submission.job.check()
    assert first.submission.nonce != Deck("run").case(kind, 4).submission.nonce
