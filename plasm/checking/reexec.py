"""The job of a receipt, run again: the same, different at which output from which byte, or not comparable and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from plasm.checking.comparing import Answer, Comparison, Difference, compare, first_difference
from plasm.errors import one_line
from plasm.jobs.conversation import Delivered, Submission
from plasm.jobs.manifest import InvalidJob, Job, Manifest, input_files, sha256
from plasm.jobs.receipt import ReceiptRefused, Statement, hold_against

Run = Callable[[Submission], Awaitable[Delivered]]
"""Runs the job, here or there, and returns what is believed: this machine's own answer, or another node's that was
verified. What it raises is its own."""


@dataclass(frozen=True, kw_only=True)
class Reexecuted:
    """What running the job again says of a receipt."""

    comparison: Comparison
    difference: Difference | None = None
    """The first place where the outputs part. Without the outputs that the receipt is about it names an output and no
    byte: a receipt has digests only."""
    rerun: Delivered

    def __str__(self) -> str:
        if self.comparison.answer is Answer.DIFFERENT and self.difference is not None:
            others = [name for name in self.comparison.differs if name != self.difference.output]
            return f"different: {', '.join([str(self.difference), *others])}"
        return str(self.comparison)


def rebuild_job(
    statement: Statement,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    inputs: Mapping[str, bytes] | None = None,
    capabilities: Sequence[str] = (),
) -> Job:
    """The job of a receipt, from its limits and module and from what else the program was given.

    A receipt holds digests only: whoever wants the job run again has to know what it was given. Raises
    :exc:`~plasm.jobs.receipt.ReceiptRefused` where that makes another job.
    """
    said = statement.predicate
    limits = {field.name: getattr(said.limits, field.name) for field in msgspec.structs.fields(said.limits)}
    document = {"module_hash": said.module_digest, "capabilities": tuple(sorted(capabilities)), **limits}
    try:
        job = Job(
            manifest=msgspec.convert(document, Manifest),
            args=tuple(args),
            env=dict(env or {}),
            stdin=said.stdin_digest,
            inputs=input_files(inputs or {}),
        )
        job.check()
    except (InvalidJob, msgspec.ValidationError) as error:
        raise ReceiptRefused(f"this is no job: {one_line(str(error))}") from None
    hold_against(statement, job=job)
    return job


async def run_again(
    statement: Statement, submission: Submission, run: Run, *, outputs: Mapping[str, bytes] | None = None
) -> Reexecuted:
    """Run the job of a proven statement again by `run`, with all that `submission` has of it, and compare.

    `outputs`, where the caller has them, are those that the receipt is about: with them the answer names a byte.
    Raises :exc:`~plasm.jobs.receipt.ReceiptRefused` where the submission, or `outputs`, are not the receipt's: then
    nothing was run.
    """
    hold_against(statement, job=submission.job, module=sha256(submission.module), stdin=sha256(submission.stdin))
    try:
        submission.job.check_input(submission.input)
    except (InvalidJob, KeyError):
        raise ReceiptRefused("the receipt is for other input files") from None
    if outputs is not None:
        hold_against(statement, outputs=outputs)
    rerun = await run(submission)
    comparison = compare(statement, rerun.statement)
    difference = None
    if comparison.answer is Answer.DIFFERENT:
        difference = _where(comparison, outputs, rerun.outputs)
    return Reexecuted(comparison=comparison, difference=difference, rerun=rerun)


def _where(
    comparison: Comparison, outputs: Mapping[str, bytes] | None, again: Mapping[str, bytes]
) -> Difference | None:
    if outputs is not None:
        return first_difference(outputs, again)
    named = [name for name in comparison.differs if name not in ("verdict", "exit code")]
    return Difference(output=named[0], offset=None) if named else None
