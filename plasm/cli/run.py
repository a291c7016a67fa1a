"""``plasm run``: a module on this machine, as a pipe."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import click

from plasm.cli.context import Context
from plasm.cli.joboptions import JobOptions, local_job_options, out_option
from plasm.cli.outcome import finish
from plasm.cli.progress import Progress
from plasm.cli.running import stoppable
from plasm.errors import PlanError
from plasm.jobs.conversation import Event
from plasm.jobs.manifest import MAX_MODULE_BYTES, digest_bytes, sha256
from plasm.jobs.modules import read_module
from plasm.jobs.receipt import outputs_of
from plasm.node import open_plan
from plasm.ports import Invocation, NotRunnable, Outcome, Patient, Verdict

_SHARES_OF_MEMORY: Final = 4
"""A program's output, and its files, may each have this part of the memory that one job may have (half of all)."""


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-q", "--quiet", is_flag=True, help="Print what the program prints, and of Plasm only errors.")
@click.argument("wasm", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@local_job_options
@out_option
@click.pass_obj
def command(context: Context, *, job: JobOptions, out: Path | None, quiet: bool) -> None:
    """Run WASM on this machine: its output as it wrote it, and its exit code.

    WASM is a file, or sha256:HEX of a module that a store has. Plasm's options stand before it; all that
    follows it goes to the program.
    """
    submission = job.submission(here=True)
    # Bytes are bounded by memory alone, unless it is said otherwise. They are no part of the seed: what a program does
    # with clock and random bytes is what it does with them elsewhere.
    share = context.settings().node.memory_mb * 2**20 // _SHARES_OF_MEMORY
    limits = replace(
        submission.job.manifest.limits(),
        **{name: share for name in ("output_bytes", "file_bytes") if getattr(job, name) is None},
    )
    by_digest = not job.module and job.digest != sha256(b"")
    plan = context.plan({"runtime", "store"} if by_digest else {"runtime"})
    installed = context.registry().names("runtime")

    async def run_here() -> Outcome:
        async with open_plan(plan) as ports:
            runtimes = dict(ports.runtimes)
            if job.runtime is not None and job.runtime not in runtimes:
                raise PlanError(
                    f"the runtime {job.runtime!r} is not selected (there is {', '.join(runtimes)})",
                    f"plasm --plugins {job.runtime} run" if job.runtime in installed else "choose one of them",
                )
            runtime = runtimes[job.runtime or next(iter(runtimes))]
            module = job.module
            if by_digest:
                stores = [store for _, store in ports.stores]
                module = await read_module(stores, job.digest, MAX_MODULE_BYTES, logging.getLogger("plasm.run"))
            try:
                progress.report(Event(kind="compiling"))
                if isinstance(runtime, Patient):
                    await runtime.prepare_own(job.digest, module)
                else:
                    await runtime.prepare(job.digest, module)
            except NotRunnable as error:
                return Outcome(verdict=Verdict.NOT_RUNNABLE, detail=str(error))
            progress.report(Event(kind="running"))
            return await runtime.run(
                Invocation(
                    module=job.digest,
                    args=job.args,
                    env=job.env,
                    stdin=job.stdin,
                    inputs=job.inputs,
                    limits=limits,
                    seed=digest_bytes(submission.job.digest()),
                    capabilities=frozenset(job.capabilities),
                )
            )

    with Progress(quiet=quiet, verbose=context.verbose) as progress:
        outcome = anyio.run(stoppable, run_here, backend=plan.backend)
    finish(
        outputs=outputs_of(outcome),
        out=out,
        verdict=outcome.verdict,
        own=outcome.exit_code,
        detail=outcome.detail,
        quiet=quiet,
    )
