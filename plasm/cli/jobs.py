"""``plasm jobs``: what was submitted from this home, and what its node took."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import anyio
import click
import msgspec

from plasm.cli.context import Context
from plasm.cli.session import with_jobs
from plasm.cli.table import table
from plasm.errors import PlasmError, one_line
from plasm.jobs.conversation import AttemptFailed, JobCancelled, NotFinished
from plasm.jobservice import Hosted, JobService, Sent

_ASK_SECONDS = 3
"""For all nodes together: one that is gone must not hold up the list."""
_ASKED_AT_ONCE = 8
_MOST_ASKED = 50
_NOT_ASKED = "?"
_ENDED_BADLY = {"UnknownJob": "kept no longer", "NodeFailed": "failed", "ModuleNotPrepared": "failed"}
"""By the reasons of the job protocol; other failures tell of the way to the node and not of the job."""


@click.command("jobs")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(context: Context, *, as_json: bool) -> None:
    """List the jobs that were submitted from here and those that this node took, newest first.

    What became of the newest 50 that were submitted is asked of their nodes; ? stands where none answered in time.
    """

    async def ask(service: JobService) -> tuple[Sequence[Sent], dict[str, str], Sequence[Hosted]]:
        sent, hosted = await service.jobs()
        return sent, await _states(service, sent[:_MOST_ASKED]), hosted

    sent, states, hosted = with_jobs(context, ask, lists=True)
    if as_json:
        submitted = [{**msgspec.to_builtins(job), "state": states.get(job.job_id)} for job in sent]
        print(json.dumps({"submitted": submitted, "hosted": msgspec.to_builtins(hosted)}))
        return
    if not sent and not hosted:
        print("No jobs. plasm submit FILE sends one.")
    if sent:
        rows = [
            (job.job_id, states.get(job.job_id, _NOT_ASKED), job.name, _ago(job.submitted), job.node) for job in sent
        ]
        print(table(("SUBMITTED", "STATE", "NAME", "AGE", "NODE"), rows))
    if sent and hosted:
        print()
    if hosted:
        lines = [(job.job_id, _end(job), _ago(job.accepted), job.runtime, job.client) for job in hosted]
        print(table(("HOSTED", "STATE", "AGE", "RUNTIME", "CLIENT"), lines))


async def _states(service: JobService, sent: Sequence[Sent]) -> dict[str, str]:
    """What the nodes of submitted jobs say of them, by id, as far as they answer in time."""
    states: dict[str, str] = {}
    at_once = anyio.CapacityLimiter(_ASKED_AT_ONCE)

    async def ask(job_id: str) -> None:
        async with at_once:
            try:
                found = await service.result(job_id, wait=False, report=lambda event: None)
            except NotFinished as unfinished:
                states[job_id] = one_line(unfinished.state)
            except JobCancelled:
                states[job_id] = "cancelled"
            except AttemptFailed as error:
                if state := _ENDED_BADLY.get(error.reason):
                    states[job_id] = state
            except PlasmError:
                # The job is not in the book any more, or its node cannot be asked.
                pass
            else:
                predicate = found.statement.predicate
                states[job_id] = _verdict(predicate.verdict.value, predicate.exit_code)

    with anyio.move_on_after(_ASK_SECONDS):
        async with anyio.create_task_group() as tasks:
            for job in sent:
                tasks.start_soon(ask, job.job_id)
    return states


def _end(job: Hosted) -> str:
    return job.state if job.verdict is None else _verdict(job.verdict, job.exit_code)


def _verdict(verdict: str, exit_code: int | None) -> str:
    return verdict if exit_code is None else f"{verdict} {exit_code}"


def _ago(moment: float) -> str:
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
