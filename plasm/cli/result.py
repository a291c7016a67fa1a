"""``plasm result``: what came of a job that was submitted from this home."""

from __future__ import annotations

from pathlib import Path

import click

from plasm.cli.context import Context
from plasm.cli.outcome import finish_delivered
from plasm.cli.progress import Progress
from plasm.cli.session import with_jobs
from plasm.jobs.conversation import Delivered
from plasm.jobservice import JobService


@click.command("result")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for it where it is not there yet.")
@click.option("--receipt", type=click.Path(path_type=Path), metavar="FILE", help="Write the receipt there.")
@click.option("--json", "as_json", is_flag=True, help="The whole result, with the receipt in it.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of our own.")
@click.argument("job_id")
@click.pass_obj
def command(context: Context, *, job_id: str, wait: bool, receipt: Path | None, as_json: bool, quiet: bool) -> None:
    """Get the verified result of JOB_ID: its output as it wrote it, and its exit code."""

    async def ask(service: JobService) -> Delivered:
        return await service.result(job_id, wait=wait, report=progress.report)

    with Progress(quiet=quiet, verbose=context.verbose) as progress:
        delivered = with_jobs(context, ask)
    finish_delivered(delivered, receipt=receipt, as_json=as_json, quiet=quiet)
