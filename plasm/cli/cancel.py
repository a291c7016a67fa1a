"""``plasm cancel``: stop a job, submitted from this home or taken by its node."""

from __future__ import annotations

import json

import click

from plasm.cli import completers
from plasm.cli.context import Context
from plasm.cli.jobids import typed_id, whole_id
from plasm.cli.parameters import bootstrap_option, its_node_option
from plasm.cli.session import with_jobs
from plasm.exitcodes import NO, OK
from plasm.jobservice import JobService


@click.command("cancel")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@its_node_option
@bootstrap_option
@click.argument("job_id", callback=typed_id, shell_complete=completers.jobs)
@click.pass_obj
def command(
    context: Context, *, job_id: str, peers: tuple[str, ...], bootstrap: tuple[str, ...], as_json: bool
) -> None:
    """Stop JOB_ID, of which the first six digits or more are enough; exits 1 where it had ended already.

    A node that is not where it was is looked for.
    """

    async def cancel(service: JobService) -> tuple[str, bool]:
        identity = await whole_id(service, job_id)
        return identity, await service.cancel(identity, peers=peers)

    identity, stopped = with_jobs(context, cancel, bootstrap=bootstrap, looks_in_vain=False)
    if as_json:
        print(json.dumps({"job_id": identity, "cancelled": stopped}))
    else:
        print(f"{identity} {'cancelled' if stopped else 'had ended already'}")
    raise SystemExit(OK if stopped else NO)
