"""``plasm submit --replicas``: a job on several nodes, what they agree on, and what is kept of those that do not."""

from __future__ import annotations

import json
import logging
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from plasm.checking.asking import Search, looking, submit_by
from plasm.checking.evidence import check_evidence
from plasm.checking.ledger import ledger_path, open_ledger
from plasm.checking.quorum import GivenNodes, Nodes, NoQuorum, Replicated, replicate
from plasm.checking.spotcheck import submit_checked
from plasm.cli.context import Context
from plasm.cli.files import write_whole
from plasm.cli.outcome import Places, as_document, finish_delivered
from plasm.cli.progress import Progress
from plasm.cli.session import ELSEWHERE, with_jobs
from plasm.exitcodes import exit_code
from plasm.home import Home
from plasm.jobs.attempts import given
from plasm.jobs.conversation import Submission
from plasm.jobs.manifest import sha256
from plasm.jobservice import JobService

_MAX_KEPT = 1000
"""Files of evidence in a home; above that the oldest go."""


def check_numbers(submission: Submission, replicas: int, quorum: int) -> None:
    """Raises :exc:`click.UsageError` for what cannot be."""
    if quorum > replicas:
        raise click.UsageError(f"A quorum of {quorum} needs as many --replicas at least.")
    if replicas > 1 and submission.job.manifest.capabilities:
        raise click.UsageError("A job with the real clock or real random bytes cannot be compared with its replicas.")


def submit_replicas(
    context: Context,
    submission: Submission,
    *,
    name: str,
    replicas: int,
    quorum: int,
    peers: Sequence[str],
    bootstrap: tuple[str, ...],
    look_seconds: float,
    progress: Progress,
) -> Replicated:
    """Have the job run until `quorum` nodes agree. With one replica it is checked where its node's record says so.

    Evidence is kept in the home whatever comes of it. Raises :exc:`~plasm.checking.quorum.NoQuorum`.
    """
    home = context.plan(ELSEWHERE).home
    log = logging.getLogger("plasm.checking")
    random = secrets.SystemRandom().random

    async def send(service: JobService) -> Replicated:
        submit = submit_by(service, submission, name=name, report=progress.report)
        async with open_ledger(ledger_path(home), log) as ledger:

            async def ask(nodes: Nodes) -> Replicated:
                if replicas == 1:
                    return await submit_checked(submit, nodes, ledger=ledger, random=random)
                return await replicate(submit, nodes, replicas=replicas, quorum=quorum, record=ledger.note)

            if peers:
                return await ask(GivenNodes(given(peers)))
            search = Search(
                arch=submission.arch,
                runtime=submission.runtime,
                look_seconds=look_seconds,
                enough=2 * replicas,
            )
            async with looking(service, ledger, search, random=random) as nodes:
                return await ask(nodes)

    try:
        replicated = with_jobs(context, send, bootstrap=bootstrap, looks=not peers)
    except NoQuorum as error:
        _say(error.replicated, keep_evidence(home, error.replicated.evidence), quiet=False)
        raise
    return replicated


def finish_replicated(
    context: Context, replicated: Replicated, *, receipt: Path | None, out: Path | None, as_json: bool, quiet: bool
) -> NoReturn:
    """Show the result that was agreed on, as that of a single node, and on stderr who agreed and who did not."""
    places, kept = Places(), []
    with places.one():
        kept = keep_evidence(context.plan(ELSEWHERE).home, replicated.evidence)
    _say(replicated, kept, quiet=quiet)
    if not as_json:
        finish_delivered(replicated.result, receipt=receipt, out=out, as_json=False, quiet=quiet, places=places)
    places.check()
    if receipt is not None:
        write_whole(receipt, replicated.result.receipt + b"\n")
    document = as_document(replicated.result) | {
        "agreeing": [json.loads(each.receipt) for each in replicated.agreeing],
        "odd": [json.loads(each.receipt) for each in replicated.odd],
        "undecided": [
            {"receipt": json.loads(each.delivered.receipt), "reason": each.reason} for each in replicated.undecided
        ],
        "failures": [{"node": peer, "reason": reason} for peer, reason in replicated.failures],
        "evidence": [str(path) for path in kept],
        "checked": len(replicated.agreeing) > 1,
    }
    print(json.dumps(document))
    predicate = replicated.result.statement.predicate
    raise SystemExit(exit_code(predicate.verdict, predicate.exit_code))


def keep_evidence(home: Home, files: Sequence[bytes]) -> list[Path]:
    """Write files of evidence into the home; where nothing may be written, none are kept."""
    folder = home.folder("evidence") if files else None
    if folder is None:
        return []
    paths = []
    for evidence in files:
        job = check_evidence(evidence).job_digest.removeprefix("sha256:")
        path = folder / f"{job[:16]}-{sha256(evidence).removeprefix('sha256:')[:16]}.json"
        write_whole(path, evidence)
        paths.append(path)
    others = [path for path in folder.glob("*.json") if path not in paths]
    for path in sorted(others, key=lambda path: -path.stat().st_mtime)[max(0, _MAX_KEPT - len(paths)) :]:
        path.unlink(missing_ok=True)
    return paths


def _say(replicated: Replicated, kept: Sequence[Path], *, quiet: bool) -> None:
    if quiet:
        return
    lines = []
    if len(replicated.agreeing) > 1:
        lines.append(f"{len(replicated.agreeing)} nodes agree: {', '.join(each.node for each in replicated.agreeing)}")
    if replicated.unchecked:
        lines.append("not checked: there is no answer of a second node to hold this result against")
    lines += [f"{each.node} says something else" for each in replicated.odd if replicated.agreeing]
    lines += [f"{each.delivered.node} counts for nothing: {each.reason}" for each in replicated.undecided]
    lines += [f"evidence: {path}; plasm verify --evidence shows what it proves" for path in kept]
    if replicated.evidence and not kept:
        lines.append("there is evidence of a contradiction, and this profile writes nothing: --json shows it")
    for line in lines:
        print(f"plasm: {line}", file=sys.stderr)
