"""``plasm cancel``: stop a job, submitted from this home or taken by its node."""

from __future__ import annotations

import json

import click

from plasm.cli.context import Context
from plasm.cli.session import with_jobs
from plasm.exitcodes import NO, OK
from plasm.jobservice import JobService


@click.command("cancel")
@click.option("--json", "as_json", is_flag=True)
@click.argument("job_id")
@click.pass_obj
def command(context: Context, *, job_id: str, as_json: bool) -> None:
    """Stop JOB_ID; exits 1 where it had ended already."""

    async def cancel(service: JobService) -> bool:
        return await service.cancel(job_id)

    stopped = with_jobs(context, cancel)
    if as_json:
        print(json.dumps({"job_id": job_id, "cancelled": stopped}))
    else:
        print(f"{job_id} {'cancelled' if stopped else 'had ended already'}")
    raise SystemExit(OK if stopped else NO)
