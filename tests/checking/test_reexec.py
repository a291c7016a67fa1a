"""A receipt's job, run again: same, different from which byte, or not comparable; and never another job."""

from __future__ import annotations

from dataclasses import replace

import anyio
import msgspec
import pytest

from plasm.checking.comparing import Answer, Difference
from plasm.checking.reexec import rebuild_job, run_again
from plasm.jobs.conversation import Delivered, Submission
from plasm.jobs.manifest import Job, Manifest, input_files
from plasm.jobs.receipt import ReceiptRefused, outputs_of
from plasm.ports import Verdict
from tests.checking.said import JOB, OTHER_ENGINE, OTHER_JOB, SUBMISSION, answer, ended, exited, statement

pytestmark = pytest.mark.anyio


def runs(outcome, **about: object):
    async def run(submission: Submission) -> Delivered:
        await anyio.lowlevel.checkpoint()
        return answer(outcome, by=2, **about)

    return run


async def not_to_run(submission: Submission) -> Delivered:
    raise AssertionError("nothing is to run")


async def test_the_same_result_on_another_engine_is_the_same():
    done = await run_again(statement(), SUBMISSION, runs(exited(), engine=OTHER_ENGINE))
    assert done.comparison.answer is Answer.SAME
    assert (done.difference, str(done)) == (None, "same")


async def test_with_the_outputs_in_hand_the_first_byte_that_differs_is_named():
    said = exited(b"0123456789", stderr=b"x")
    done = await run_again(
        statement(said), SUBMISSION, runs(exited(b"0123x56789", stderr=b"y")), outputs=outputs_of(said)
    )
    assert done.difference == Difference(output="stdout", offset=4)
    assert str(done) == "different: stdout from byte 4, stderr"


async def test_without_the_outputs_the_output_is_named():
    done = await run_again(statement(exited(files={"a": b"1"})), SUBMISSION, runs(exited(files={"a": b"2"})))
    assert done.difference == Difference(output="out/a", offset=None)
    assert str(done) == "different: out/a"


async def test_an_exit_code_alone_has_no_byte():
    done = await run_again(statement(exited(code=1)), SUBMISSION, runs(exited(code=2)))
    assert done.difference is None
    assert str(done) == "different: exit code"


async def test_what_cannot_be_compared_says_why():
    done = await run_again(statement(ended(Verdict.TIMED_OUT)), SUBMISSION, runs(exited()))
    assert done.comparison.answer is Answer.NOT_COMPARABLE
    assert str(done).startswith("not comparable: timed_out depends")


async def test_input_files_that_are_not_the_jobs_are_refused():
    files = {"data.txt": b"right"}
    job = msgspec.structs.replace(SUBMISSION.job, inputs=input_files(files))
    for inputs in ({"data.txt": b"wrong"}, {}):
        with pytest.raises(ReceiptRefused, match="other input files"):
            await run_again(statement(job=job), replace(SUBMISSION, job=job, inputs=inputs), not_to_run)
    done = await run_again(statement(job=job), replace(SUBMISSION, job=job, inputs=files), runs(exited(), job=job))
    assert done.comparison.answer is Answer.SAME


@pytest.mark.parametrize(
    ("submission", "why"),
    [
        (replace(SUBMISSION, job=OTHER_JOB), "another job"),
        (replace(SUBMISSION, module=b"another module"), "another module"),
        (replace(SUBMISSION, stdin=b"other"), "another standard input"),
    ],
)
async def test_another_job_than_the_receipts_is_not_run(submission, why):
    with pytest.raises(ReceiptRefused, match=why):
        await run_again(statement(), submission, not_to_run)


async def test_outputs_that_are_not_the_receipts_are_refused_before_anything_runs():
    with pytest.raises(ReceiptRefused, match="another stdout"):
        await run_again(statement(), SUBMISSION, not_to_run, outputs={"stdout": b"forged", "stderr": b""})


def test_a_job_is_rebuilt_from_its_receipt_and_what_it_was_given():
    files = {"b": b"2", "a/c": b"1"}
    job = Job(
        manifest=Manifest(module_hash=JOB.manifest.module_hash, memory_mb=32, fuel=77, capabilities=("random",)),
        args=("-v", "x"),
        env={"LANG": "C"},
        stdin=JOB.stdin,
        inputs=input_files(files),
    )
    given = {"args": ["-v", "x"], "env": {"LANG": "C"}, "inputs": files, "capabilities": ["random"]}
    assert rebuild_job(statement(job=job), **given) == job
    for wrong in ({"args": []}, {"env": {}}, {"inputs": {"b": b"2"}}, {"capabilities": []}, {"args": ["a\0b"]}):
        with pytest.raises(ReceiptRefused):
            rebuild_job(statement(job=job), **given | wrong)
