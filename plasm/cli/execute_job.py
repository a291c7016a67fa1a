"""``plasm execute-job``: a module on this machine, with a signed receipt."""

from __future__ import annotations

import json
from pathlib import Path

import click

from plasm.cli.context import Context
from plasm.cli.files import write_whole
from plasm.cli.joboptions import JobOptions, job_options, out_option
from plasm.cli.outcome import as_document, keep_files, say_ending
from plasm.cli.progress import Progress
from plasm.cli.session import HERE, with_jobs
from plasm.exitcodes import exit_code
from plasm.jobs.conversation import Delivered, Event
from plasm.jobservice import JobService


@click.command("execute-job", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--wasm", type=click.Path(), metavar="FILE", help="The module, where it is not the first argument.")
@click.option("--receipt", type=click.Path(path_type=Path), metavar="FILE", help="Write the receipt there too.")
@click.option(
    "--stdout", "output", type=click.Path(path_type=Path), metavar="FILE", help="Write the program's output there."
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON, with the receipt in it.")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[WASM] [ARGS]...")
@job_options
@out_option
@click.pass_obj
def command(
    context: Context, *, job: JobOptions, out: Path | None, receipt: Path | None, output: Path | None, as_json: bool
) -> None:
    """Run WASM on this machine and print the signed receipt.

    WASM is a file, or sha256:HEX of a module that a store has. Plasm's options stand before it; all that
    follows it goes to the program.
    """
    submission = job.submission()

    async def execute(service: JobService) -> Delivered:
        return await service.execute(submission)

    with Progress(verbose=context.verbose) as progress:
        progress.report(Event(kind="running"))
        delivered = with_jobs(context, execute, ports=HERE)
    if receipt is not None:
        write_whole(receipt, delivered.receipt + b"\n")
    if output is not None:
        write_whole(output, delivered.stdout)
    keep_files(delivered.files, out)
    predicate = delivered.statement.predicate
    print(json.dumps(as_document(delivered)) if as_json else delivered.receipt.decode())
    if not as_json:
        say_ending(predicate.verdict, delivered.detail)
    raise SystemExit(exit_code(predicate.verdict, predicate.exit_code))
