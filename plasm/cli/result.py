"""``plasm result``: what came of a job that was submitted from this home."""

from __future__ import annotations

import json
from pathlib import Path

import click

from plasm.cli import completers
from plasm.cli.context import CommandFailed, Context
from plasm.cli.jobids import typed_id, whole_id
from plasm.cli.joboptions import out_option
from plasm.cli.outcome import finish_delivered
from plasm.cli.parameters import bootstrap_option, its_node_option
from plasm.cli.progress import Progress
from plasm.cli.session import with_jobs
from plasm.errors import one_line
from plasm.exitcodes import NO
from plasm.jobs.conversation import Delivered, NotFinished
from plasm.jobservice import JobService


@click.command("result")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for it where it is not there yet.")
@click.option("--receipt", type=click.Path(path_type=Path), metavar="FILE", help="Write the receipt there.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON, with the receipt in it.")
@click.option("-q", "--quiet", is_flag=True, help="Print what the program prints, and of Plasm only errors.")
@its_node_option
@bootstrap_option
@out_option
@click.argument("job_id", callback=typed_id, shell_complete=completers.jobs)
@click.pass_obj
def command(
    context: Context,
    *,
    job_id: str,
    peers: tuple[str, ...],
    bootstrap: tuple[str, ...],
    wait: bool,
    receipt: Path | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Get the verified result of JOB_ID: its output as it wrote it, and its exit code.

    The first six digits of the id or more are enough. A node that is not where it was is looked for.
    With --no-wait it exits 1 where the job has not ended.
    """

    async def ask(service: JobService) -> tuple[str, Delivered | NotFinished]:
        identity = await whole_id(service, job_id)
        try:
            return identity, await service.result(identity, wait=wait, report=progress.report, peers=peers)
        except NotFinished as unfinished:
            return identity, unfinished

    with Progress(quiet=quiet, verbose=context.verbose) as progress:
        identity, found = with_jobs(context, ask, bootstrap=bootstrap, looks_in_vain=False)
    if isinstance(found, Delivered):
        finish_delivered(found, receipt=receipt, out=out, as_json=as_json, quiet=quiet)
    if as_json:
        print(json.dumps({"job_id": identity, "state": found.state}))
        raise SystemExit(NO)
    state = one_line(found.state)
    raise CommandFailed(f"job {identity} is still {state}", "without --no-wait it is waited for", code=NO)
