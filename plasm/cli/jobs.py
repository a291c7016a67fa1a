"""``plasm jobs``: what was submitted from this home, and what its node took."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import click
import msgspec

from plasm.cli.context import Context
from plasm.cli.session import with_jobs
from plasm.cli.table import table
from plasm.jobservice import Hosted, JobService, Sent


@click.command("jobs")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def command(context: Context, *, as_json: bool) -> None:
    """List the jobs that were submitted from here and those that this node took, newest first."""

    async def ask(service: JobService) -> tuple[Sequence[Sent], Sequence[Hosted]]:
        return await service.jobs()

    sent, hosted = with_jobs(context, ask)
    if as_json:
        print(json.dumps({"submitted": msgspec.to_builtins(sent), "hosted": msgspec.to_builtins(hosted)}))
        return
    if not sent and not hosted:
        print("No jobs. plasm submit FILE sends one.")
    if sent:
        rows = [(job.job_id, job.name, _ago(job.submitted), job.node) for job in sent]
        print(table(("SUBMITTED", "NAME", "AGE", "NODE"), rows))
    if sent and hosted:
        print()
    if hosted:
        lines = [(job.job_id, _end(job), _ago(job.accepted), job.runtime, job.client) for job in hosted]
        print(table(("HOSTED", "STATE", "AGE", "RUNTIME", "CLIENT"), lines))


def _end(job: Hosted) -> str:
    if job.verdict is None:
        return job.state
    return f"{job.verdict} {job.exit_code}" if job.exit_code is not None else job.verdict


def _ago(moment: float) -> str:
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
