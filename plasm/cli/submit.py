"""``plasm submit``: a module on another machine, as a pipe, with nothing shown before it is verified."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NoReturn

import anyio
import click

from plasm.checking.quorum import MAX_REPLICAS
from plasm.cli.context import CommandFailed, Context
from plasm.cli.joboptions import JobOptions, job_options, out_option
from plasm.cli.outcome import finish_delivered
from plasm.cli.parameters import EXAMPLE, bootstrap_option, peer_option, seconds
from plasm.cli.progress import Progress
from plasm.cli.running import told_to_stop
from plasm.cli.session import ELSEWHERE, with_jobs
from plasm.errors import PlasmError
from plasm.exitcodes import INTERRUPTED
from plasm.jobs.attempts import LOOK_SECONDS
from plasm.jobs.client import Detached
from plasm.jobs.conversation import Delivered, Submission
from plasm.jobservice import JobService

_TAKE_BACK_SECONDS = 4
"""A new connection and an answer; whoever was interrupted does not want to wait for more."""


@click.command("submit", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@peer_option(f"Ask this node, such as {EXAMPLE}; repeatable, first one first.")
@bootstrap_option
@click.option(
    "--look",
    default=LOOK_SECONDS,
    callback=seconds,
    metavar="SECONDS",
    show_default=True,
    help="How long to look for nodes.",
)
@click.option(
    "--wait",
    default=600.0,
    callback=seconds,
    metavar="SECONDS",
    show_default=True,
    help="How long the job may wait in a node's queue.",
)
@click.option("--arch", metavar="NAME", help="Only nodes of this architecture: x86_64 or arm64.")
@click.option(
    "--replicas",
    type=click.IntRange(1, MAX_REPLICAS),
    metavar="N",
    help="Have N different nodes run the job, and compare their results. With 1 a second node checks the result as"
    " often as the first one's record calls for. Without this option one node runs it, and nothing is compared.",
)
@click.option(
    "--quorum",
    type=click.IntRange(1, MAX_REPLICAS),
    metavar="M",
    help="Take the result that M nodes agree on; without it, all must agree where there are two replicas, and all but"
    " one where there are more.",
)
@click.option("--receipt", type=click.Path(path_type=Path), metavar="FILE", help="Write the receipt there.")
@click.option("--detach", is_flag=True, help="Leave the job with a node and print its id.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON, with the receipt in it.")
@click.option("-q", "--quiet", is_flag=True, help="Print what the program prints, and of Plasm only errors.")
@click.argument("wasm", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@job_options
@out_option
@click.pass_obj
def command(
    context: Context,
    *,
    job: JobOptions,
    out: Path | None,
    peers: tuple[str, ...],
    bootstrap: tuple[str, ...],
    look: float,
    wait: float,
    arch: str | None,
    replicas: int | None,
    quorum: int | None,
    receipt: Path | None,
    detach: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Have WASM run by a node: its output as it wrote it, and its exit code.

    WASM is a file, or sha256:HEX of a module that a store has. Plasm's options stand before it; all that
    follows it goes to the program.
    """
    if detach:
        _refuse_to_forget(context)
    submission = job.submission(arch=arch, wait_seconds=wait)
    taken_back: list[CommandFailed] = []
    if job.runtime is not None and not quiet:
        _say_if_unknown(context, job.runtime)
    if replicas is not None or quorum is not None:
        _submit_replicas(
            context,
            submission,
            job.name,
            replicas or quorum or 1,
            quorum or max((replicas or 1) - 1, min(replicas or 1, 2)),
            peers=peers,
            bootstrap=bootstrap,
            look=look,
            receipt=receipt,
            out=out,
            detach=detach,
            as_json=as_json,
            quiet=quiet,
        )

    async def send(service: JobService) -> Delivered | Detached:
        do = service.detach if detach else service.submit
        try:
            return await do(submission, name=job.name, report=progress.report, peers=peers, look_seconds=look)
        except BaseException as error:
            if progress.job_id and told_to_stop(error):
                taken_back.append(await _take_back(service, progress.job_id))
            # Not replaced here: what is closed on the way out would replace it again by its own cancellation.
            raise

    with Progress(quiet=quiet, verbose=context.verbose) as progress:
        try:
            done = with_jobs(context, send, bootstrap=bootstrap, looks=not peers)
        except BaseException:
            if taken_back:
                raise taken_back[0] from None
            raise
    if isinstance(done, Delivered):
        finish_delivered(done, receipt=receipt, out=out, as_json=as_json, quiet=quiet)
    if as_json:
        print(json.dumps({"job_id": done.job_id, "node": done.node, "keep_seconds": done.keep_seconds}))
    else:
        print(done.job_id)
        if not quiet:
            print(f"plasm: left with {done.node}; plasm result {done.job_id} gets what comes of it", file=sys.stderr)


def _submit_replicas(
    context: Context,
    submission: Submission,
    name: str,
    replicas: int,
    quorum: int,
    *,
    peers: tuple[str, ...],
    bootstrap: tuple[str, ...],
    look: float,
    receipt: Path | None,
    out: Path | None,
    detach: bool,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    from plasm.cli.replicas import check_numbers, finish_replicated, submit_replicas

    if detach:
        raise click.UsageError("--detach waits for nobody, and replicas are compared when they are done.")
    check_numbers(submission, replicas, quorum)
    with Progress(quiet=quiet, verbose=context.verbose) as progress:
        done = submit_replicas(
            context,
            submission,
            name=name,
            replicas=replicas,
            quorum=quorum,
            peers=peers,
            bootstrap=bootstrap,
            look_seconds=look,
            progress=progress,
        )
    finish_replicated(context, done, receipt=receipt, out=out, as_json=as_json, quiet=quiet)


def _say_if_unknown(context: Context, runtime: str) -> None:
    """Other nodes may have a runtime that is not installed here; more often it is a slip."""
    known = context.registry().names("runtime")
    if known and runtime not in known:
        print(f"plasm: no plugin here has the runtime {runtime!r} (there is {', '.join(known)})", file=sys.stderr)


def _refuse_to_forget(context: Context) -> None:
    plan = context.plan(ELSEWHERE)
    if not plan.writes:
        raise CommandFailed(
            f"the profile {plan.profile.name} forgets its identity and what it submitted,"
            " so nobody could ask for the result of a job that is left with a node",
            "leave --detach out and wait for it, or choose another profile",
        )


async def _take_back(service: JobService, job_id: str) -> CommandFailed:
    """What to say about an interrupted job, once its node has been told."""
    with anyio.move_on_after(_TAKE_BACK_SECONDS, shield=True):
        try:
            # Whether there was still something to stop does not matter: what answers either way does not run it.
            await service.cancel(job_id)
        except PlasmError as error:
            return CommandFailed(f"interrupted; job {job_id}: {error.message}", code=INTERRUPTED)
        return CommandFailed(f"interrupted; job {job_id} was cancelled", code=INTERRUPTED)
    return CommandFailed(
        f"interrupted; job {job_id} may go on, its node did not answer", f"plasm cancel {job_id}", code=INTERRUPTED
    )
