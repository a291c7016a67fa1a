"""Two statements: the same, different and where, or not comparable and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plasm.checking.comparing import DETERMINISTIC_TRAPS, Answer, Difference, compare, first_difference
from plasm.ports import Verdict
from tests.checking.said import ENGINE, OTHER_ENGINE, OTHER_JOB, ended, exited, statement, used

SAME, DIFFERENT, NOT_COMPARABLE = Answer.SAME, Answer.DIFFERENT, Answer.NOT_COMPARABLE


def both_ways(one, other):
    there, back = compare(one, other), compare(other, one)
    assert (there.answer, there.differs) == (back.answer, back.differs)
    assert bool(there.reason) == (there.answer is NOT_COMPARABLE)
    assert bool(there.differs) == (there.answer is DIFFERENT)
    return there


def test_two_nodes_that_say_the_same_are_the_same_whatever_it_took_them():
    one = statement(exited(usage=used(1)), by=1, nonce=bytes(16), seconds=1)
    other = statement(exited(usage=used(2)), by=2, nonce=bytes([1]) * 16, seconds=7)
    assert both_ways(one, other).answer is SAME


def test_another_engine_is_no_obstacle_to_a_program_that_exited():
    assert both_ways(statement(), statement(by=2, engine=OTHER_ENGINE)).answer is SAME
    different = both_ways(statement(), statement(exited(b"other"), by=2, engine=OTHER_ENGINE))
    assert (different.answer, different.differs) == (DIFFERENT, ("stdout",))


@pytest.mark.parametrize(
    ("outcome", "differs"),
    [
        (exited(code=1, files={"b/c": b"2"}), ("exit code",)),
        (exited(b"other", files={"b/c": b"2"}), ("stdout",)),
        (exited(stderr=b"more", files={"b/c": b"2"}), ("stderr",)),
        (exited(files={"a": b"1", "b/c": b"2"}), ("out/a",)),
        (exited(files={"b/c": b"2"}), ()),
        (exited(files={"b/c": b"3"}), ("out/b/c",)),
        (exited(b"x", 1, stderr=b"y", files={}), ("exit code", "stdout", "stderr", "out/b/c")),
        (ended(Verdict.TRAPPED, trap="unreachable", files={"b/c": b"2"}), ("verdict", "exit code")),
    ],
)
def test_each_output_that_differs_is_named(outcome, differs):
    comparison = both_ways(statement(exited(files={"b/c": b"2"})), statement(outcome, by=2))
    assert comparison.differs == differs


def test_another_job_is_not_comparable():
    assert "different jobs" in both_ways(statement(), statement(by=2, job=OTHER_JOB)).reason


@pytest.mark.parametrize("verdict", [Verdict.TIMED_OUT, Verdict.CELL_DIED])
@pytest.mark.parametrize("other", [exited(), ended(Verdict.TIMED_OUT), ended(Verdict.CELL_DIED)])
def test_what_depends_on_the_machine_is_never_comparable(verdict, other):
    comparison = both_ways(statement(ended(verdict)), statement(other, by=2))
    assert comparison.answer is NOT_COMPARABLE


def test_a_run_that_used_a_real_clock_is_not_comparable():
    assert "real clock" in both_ways(statement(exited(reproducible=False)), statement(by=2)).reason


BOUND = [
    Verdict.OUT_OF_FUEL,
    Verdict.OUT_OF_MEMORY,
    Verdict.OUTPUT_LIMIT,
    Verdict.HOST_CALL_LIMIT,
    Verdict.NOT_RUNNABLE,
]


@pytest.mark.parametrize("verdict", BOUND)
@pytest.mark.parametrize(
    "engine",
    [
        OTHER_ENGINE,
        replace(ENGINE, version="50.0.2"),
        replace(ENGINE, configuration={**ENGINE.configuration, "fuel": False}),
        replace(ENGINE, configuration={**ENGINE.configuration, "fuel": 1}),
    ],
)
def test_limits_are_comparable_on_the_same_engine_version_and_configuration_alone(verdict, engine):
    one = statement(ended(verdict))
    assert both_ways(one, statement(ended(verdict), by=2)).answer is SAME
    assert both_ways(one, statement(exited(), by=2)).differs == ("verdict", "exit code")
    elsewhere = both_ways(one, statement(exited(), by=2, engine=engine))
    assert verdict.value in elsewhere.reason


@pytest.mark.parametrize("trap", sorted(DETERMINISTIC_TRAPS))
def test_a_trap_that_the_module_brings_about_is_comparable_across_engines(trap):
    one = statement(ended(Verdict.TRAPPED, trap=trap))
    assert both_ways(one, statement(ended(Verdict.TRAPPED, trap=trap), by=2, engine=OTHER_ENGINE)).answer is SAME
    assert both_ways(one, statement(exited(), by=2, engine=OTHER_ENGINE)).answer is DIFFERENT


@pytest.mark.parametrize("trap", ["stack_overflow", "allocation_too_large", "other", "made up", None])
@pytest.mark.parametrize("engine", [ENGINE, OTHER_ENGINE])
def test_a_trap_that_depends_on_the_machine_is_not_comparable(trap, engine):
    one = statement(ended(Verdict.TRAPPED, trap=trap))
    assert both_ways(one, statement(exited(), by=2, engine=engine)).answer is NOT_COMPARABLE


def test_engines_whose_clock_and_random_follow_other_rules_are_not_comparable():
    other = replace(OTHER_ENGINE, configuration={"wasi": "other/1"})
    assert "different rules" in both_ways(statement(), statement(by=2, engine=other)).reason


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ({"stdout": b"abc"}, {"stdout": b"abc"}, None),
        ({"stdout": b"abc"}, {"stdout": b"abd"}, Difference(output="stdout", offset=2)),
        ({"stdout": b"abc"}, {"stdout": b"abcd"}, Difference(output="stdout", offset=3)),
        ({"stdout": b"", "stderr": b"x"}, {"stdout": b"", "stderr": b"y"}, Difference(output="stderr", offset=0)),
        ({"out/a": b"x", "stdout": b"1"}, {"out/a": b"y", "stdout": b"2"}, Difference(output="stdout", offset=0)),
        ({"stdout": b"", "out/a": b""}, {"stdout": b""}, Difference(output="out/a", offset=None)),
    ],
)
def test_the_first_byte_that_differs_is_found(one, other, difference):
    assert first_difference(one, other) == difference
    assert first_difference(other, one) == difference


@given(st.integers(0, 200_000), st.integers(0, 200_000))
@example(65_535, 65_537)
@example(65_536, 131_072)
def test_the_first_byte_is_found_wherever_it_stands(at, length):
    data = bytes(length)
    changed = data[:at] + b"\x01" + data[at + 1 :] if at < length else data + b"\x01"
    assert first_difference({"stdout": data}, {"stdout": changed}) == Difference(
        output="stdout", offset=min(at, length)
    )


OUTCOMES = st.one_of(
    st.builds(exited, stdout=st.sampled_from([b"a", b"b"]), code=st.integers(0, 1), reproducible=st.booleans()),
    st.builds(
        ended,
        st.sampled_from([verdict for verdict in Verdict if verdict not in (Verdict.EXITED, Verdict.TRAPPED)]),
    ),
    st.builds(ended, st.just(Verdict.TRAPPED), trap=st.sampled_from(["unreachable", "stack_overflow", None])),
)


@given(OUTCOMES, OUTCOMES, st.sampled_from([ENGINE, OTHER_ENGINE]), st.sampled_from([ENGINE, OTHER_ENGINE]))
def test_an_answer_is_the_same_in_both_directions_and_follows_the_result_digest(one, other, engine, second):
    first, last = statement(one, engine=engine), statement(other, by=2, engine=second)
    comparison = both_ways(first, last)
    if comparison.answer is not NOT_COMPARABLE:
        agree = first.predicate.result_digest == last.predicate.result_digest
        assert (comparison.answer is SAME) == agree
