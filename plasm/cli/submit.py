"""``plasm submit``: a module on another machine, as a pipe, with nothing shown before it is verified."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from plasm.cli.context import Context
from plasm.cli.joboptions import JobOptions, job_options
from plasm.cli.outcome import finish_delivered
from plasm.cli.progress import Progress
from plasm.cli.session import with_jobs
from plasm.jobs.client import LOOK_SECONDS, Detached
from plasm.jobs.conversation import Delivered
from plasm.jobservice import JobService


@click.command("submit", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--peer", "peers", multiple=True, metavar="ADDR", help="Ask this node; repeatable, first one first.")
@click.option("--bootstrap", "-b", multiple=True, metavar="ADDR", help="A way into the network; repeatable.")
@click.option("--look", default=LOOK_SECONDS, metavar="SECONDS", show_default=True, help="For how long to look.")
@click.option("--wait", default=600.0, metavar="SECONDS", show_default=True, help="For how long it may wait its turn.")
@click.option("--arch", help="Only nodes of this architecture.")
@click.option("--receipt", type=click.Path(path_type=Path), metavar="FILE", help="Write the receipt there.")
@click.option("--detach", is_flag=True, help="Leave the job with a node and print its id.")
@click.option("--json", "as_json", is_flag=True, help="The whole result, with the receipt in it.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of our own.")
@click.argument("wasm", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@job_options
@click.pass_obj
def command(
    context: Context,
    *,
    job: JobOptions,
    peers: tuple[str, ...],
    bootstrap: tuple[str, ...],
    look: float,
    wait: float,
    arch: str | None,
    receipt: Path | None,
    detach: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Have WASM run by a node: its output as it wrote it, and its exit code."""
    submission = job.submission(arch=arch, wait_seconds=wait)

    async def send(service: JobService) -> Delivered | Detached:
        do = service.detach if detach else service.submit
        return await do(submission, name=job.name, report=progress.report, peers=peers, look_seconds=look)

    with Progress(quiet=quiet, verbose=context.verbose) as progress:
        done = with_jobs(context, send, bootstrap=bootstrap)
    if isinstance(done, Delivered):
        finish_delivered(done, receipt=receipt, as_json=as_json, quiet=quiet)
    if as_json:
        print(json.dumps({"job_id": done.job_id, "node": done.node, "keep_seconds": done.keep_seconds}))
    else:
        print(done.job_id)
        if not quiet:
            print(f"plasm: left with {done.node}; plasm result {done.job_id} gets what comes of it", file=sys.stderr)
