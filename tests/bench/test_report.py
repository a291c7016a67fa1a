"""What the bench says is what it measured, in the table and in JSON."""

from __future__ import annotations

import json

import pytest

from tests.bench.figures import Report, Rounds, percentile


@pytest.fixture
def report() -> Report:
    report = Report(settings={"rounds": 3})
    report.add("ours", "ms", [2.0, 30.0, 4.0])
    report.add("theirs", "ms", [4.0, 20.0, 8.0])
    report.ask("ours by theirs", report.ratio("ours", "theirs"), 1)
    report.ask("nodes found", 13, 14, at_least=True)
    return report


def test_a_figure_is_the_median_of_its_rounds(report: Report) -> None:
    figure = report.as_document()["figures"]["ours"]
    assert figure == {"unit": "ms", "value": 4.0, "rounds": [2.0, 30.0, 4.0]}


def test_a_ratio_is_taken_round_by_round(report: Report) -> None:
    assert report.ratio("ours", "theirs") == 0.5


def test_a_difference_is_taken_round_by_round(report: Report) -> None:
    report.difference("ours", "theirs")
    assert report.figures["ours, over bare"].rounds == (-2.0, 10.0, -4.0)


def test_rounds_become_figures_in_the_order_in_which_they_came() -> None:
    rounds, report = Rounds(), Report()
    for value in (1.0, 2.0):
        rounds.note("first", "ms", value)
        rounds.note("second", "jobs/s", 10 * value)
    report.add_all(rounds)
    assert [(name, figure.unit, figure.rounds) for name, figure in report.figures.items()] == [
        ("first", "ms", (1.0, 2.0)),
        ("second", "jobs/s", (10.0, 20.0)),
    ]


def test_what_is_missing_is_said_at_once_and_in_the_report() -> None:
    said: list[str] = []
    report = Report(say=said.append)
    report.add("ours", "ms", [1.0])
    report.note("no figures of theirs")
    assert said == report.as_document()["notes"] == ["no figures of theirs"]
    assert report.as_table().endswith("no figures of theirs")


def test_targets_say_whether_they_were_met(report: Report) -> None:
    assert [target["met"] for target in report.as_document()["targets"]] == [True, False]
    assert [line.rsplit(None, 2)[-1] for line in report.as_table().splitlines()[-2:]] == ["met", "SHORT"]


def test_the_document_is_json_that_names_machine_and_settings(report: Report) -> None:
    document = json.loads(json.dumps(report.as_document()))
    assert set(document) == {"format", "machine", "settings", "figures", "targets", "notes"}
    assert document["settings"] == {"rounds": 3}
    assert {"cores", "load", "python", "system", "versions"} <= set(document["machine"])


def test_the_table_has_a_line_for_each_figure(report: Report) -> None:
    lines = report.as_table().splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["ours", "theirs"]
    assert lines[1].split()[1:] == ["4", "2", "30", "ms"]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected
