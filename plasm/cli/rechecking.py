"""``plasm verify --reexec`` and ``--evidence``: a receipt's job run again, and contradictions that others can check."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import anyio

from plasm.checking.comparing import Answer, same_engine
from plasm.checking.evidence import MAX_EVIDENCE_BYTES, EvidenceRefused, Finding, check_evidence, make_evidence
from plasm.checking.ledger import ledger_path, open_ledger
from plasm.checking.reexec import Reexecuted, rebuild_job, run_again
from plasm.checking.standing import Deed
from plasm.checking.summary import make_summary, reexecution
from plasm.cli.context import Context
from plasm.cli.files import read_file, write_whole
from plasm.cli.replicas import keep_evidence
from plasm.cli.session import ELSEWHERE, HERE, with_jobs
from plasm.errors import one_line, printable
from plasm.exitcodes import NO, OK
from plasm.host import book_for
from plasm.jobs.conversation import Delivered, Submission
from plasm.jobs.manifest import Job, job_id
from plasm.jobs.receipt import Statement
from plasm.jobservice import JobService
from plasm.node import open_plan
from plasm.ports import Digest, PeerId


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the command line says that the program was given, where the home does not know it any more."""

    module: bytes
    stdin: bytes = b""
    args: Sequence[str] = ()
    env: Mapping[str, str] | None = None
    inputs: Mapping[str, bytes] | None = None
    capabilities: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Rechecked:
    """What came of it, with the files that were written."""

    reexecuted: Reexecuted
    evidence: Sequence[Path]
    vouched_for_itself: bool = False
    """Whether the node that signed the receipt said the same again when it was asked, which proves nothing."""

    @property
    def answer(self) -> str:
        """``ok``, ``refused`` or ``not checked``, as ``plasm verify`` answers."""
        if self.vouched_for_itself:
            return "not checked"
        return {Answer.SAME: "ok", Answer.DIFFERENT: "refused", Answer.NOT_COMPARABLE: "not checked"}[
            self.reexecuted.comparison.answer
        ]

    @property
    def detail(self) -> str:
        """One line for people."""
        said = self.reexecuted.rerun.statement.predicate
        where = f"run again on {said.engine.name} {said.engine.version} by {said.node}"
        kept = "".join(f"; evidence: {path}" for path in self.evidence)
        itself = ", which signed the receipt itself: name another with --via" if self.vouched_for_itself else ""
        return one_line(f"{self.reexecuted}, {where}{itself}{kept}")


def recheck(
    context: Context,
    statement: Statement,
    receipt: bytes,
    *,
    given: Given,
    engine: str | None = None,
    via: str | None = None,
    outputs: Mapping[str, bytes] | None = None,
    summary: Path | None = None,
) -> Rechecked:
    """Run the job of a proven receipt again, here or by the node at `via`, and write down what comes of it.

    A result that differs is kept as evidence. `summary` gets a signed verification summary, where there is something
    to sum up. Raises :exc:`~plasm.jobs.receipt.ReceiptRefused` where `given` is not what the receipt is about.
    """
    if engine is not None and via is None:
        context = replace(context, plugins=(*context.plugins, f"runtime:{engine}"))
    home = context.plan(ELSEWHERE if via else HERE).home
    node = PeerId(statement.predicate.node)

    async def do(service: JobService) -> Reexecuted:
        submission = await _submission(context, statement, given, engine)

        async def run(again: Submission) -> Delivered:
            if via is None:
                return await service.execute(again)
            return await service.submit(again, name="reexec", report=lambda event: None, peers=[via], look_seconds=0)

        done = await run_again(statement, submission, run, outputs=outputs)
        if deed := _deed(statement, done, here=via is None):
            async with open_ledger(ledger_path(home), logging.getLogger("plasm.checking")) as ledger:
                await ledger.note(node, deed)
        return done

    reexecuted = with_jobs(context, do, ports=ELSEWHERE if via else HERE)
    answer = reexecuted.comparison.answer
    evidence = [make_evidence(receipt, reexecuted.rerun.receipt)] if answer is Answer.DIFFERENT else []
    vouched_for_itself = via is not None and reexecuted.rerun.node == node and answer is Answer.SAME
    if summary is not None and answer is not Answer.NOT_COMPARABLE and not vouched_for_itself:
        write_whole(summary, _summary(context, receipt, reexecuted) + b"\n")
    return Rechecked(
        reexecuted=reexecuted, evidence=keep_evidence(home, evidence), vouched_for_itself=vouched_for_itself
    )


def verify_evidence(path: Path, *, as_json: bool) -> NoReturn:
    """Say what a file of evidence proves; exits 0 where it proves a contradiction, 1 where it proves nothing."""
    try:
        finding = check_evidence(read_file(path, MAX_EVIDENCE_BYTES + 1).removesuffix(b"\n"))
    except EvidenceRefused as error:
        line = one_line(str(error))
        print(json.dumps({"ok": False, "problem": line}) if as_json else f"✗ evidence: {line}")
        raise SystemExit(NO) from None
    if as_json:
        print(json.dumps(_document(finding)))
    else:
        print("\n".join(map(printable, _lines(finding))))
    raise SystemExit(OK)


def _deed(statement: Statement, done: Reexecuted, *, here: bool) -> Deed | None:
    """What the signer of `statement` did; ``None`` where it alone says something and does not contradict itself."""
    answer = done.comparison.answer
    # Between different engines it is the engines that differ, and nobody need have lied.
    same = same_engine(statement.predicate.engine, done.rerun.statement.predicate.engine)
    if done.rerun.node == statement.predicate.node:
        return Deed.LIED if answer is Answer.DIFFERENT and same else None
    match answer:
        case Answer.SAME:
            return Deed.AGREED
        case Answer.DIFFERENT if here:
            return Deed.LIED if same else Deed.DIFFERED
        case _:
            # Between two other nodes nobody has decided.
            return Deed.UNDECIDED


async def _submission(context: Context, statement: Statement, given: Given, engine: str | None) -> Submission:
    job = await _known_job(context, statement)
    if job is None:
        job = rebuild_job(
            statement, args=given.args, env=given.env, inputs=given.inputs, capabilities=given.capabilities
        )
    return Submission(job=job, module=given.module, stdin=given.stdin, inputs=given.inputs or {}, runtime=engine)


async def _known_job(context: Context, statement: Statement) -> Job | None:
    """The job as it was submitted from this home, as long as that is kept."""
    said = statement.predicate
    home = context.plan(ELSEWHERE).home
    if home.path is None:
        return None
    identity = job_id(PeerId(said.client), bytes.fromhex(said.nonce), Digest(said.job_digest))
    submitted = await book_for(home).find(identity)
    return submitted.job if submitted is not None and submitted.job.digest() == said.job_digest else None


def _summary(context: Context, receipt: bytes, done: Reexecuted) -> bytes:
    plan = context.plan({"signer"})

    async def sign() -> bytes:
        async with open_plan(plan) as ports:
            return make_summary(
                receipt,
                passed=done.comparison.answer is Answer.SAME,
                policy=reexecution(done.rerun.statement.predicate.engine.name),
                against=[done.rerun.receipt],
                signer=ports.signer,
                verifier=ports.peer,
                verified=datetime.datetime.now(datetime.UTC),
            )

    return anyio.run(sign, backend=plan.backend)


def _document(finding: Finding) -> dict[str, object]:
    return {
        "ok": True,
        "job_digest": finding.job_digest,
        "differs": list(finding.differs),
        "self_contradiction": finding.self_contradiction,
        "same_engine": finding.same_engine,
        "odd_one": finding.odd_one,
        "sides": [
            {
                "node": node,
                "agreeing": list(agreeing),
                "verdict": statement.predicate.verdict.value,
                "exit_code": statement.predicate.exit_code,
                "result_digest": statement.predicate.result_digest,
                "engine": {"name": statement.predicate.engine.name, "version": statement.predicate.engine.version},
            }
            for node, agreeing, statement in zip(finding.nodes, finding.agreeing, finding.statements, strict=True)
        ],
    }


def _lines(finding: Finding) -> list[str]:
    how = "contradict each other" if finding.same_engine else "differ, on two engines"
    lines = [f"✓ evidence: two signed receipts about job {finding.job_digest} {how}"]
    for statement, agreeing in zip(finding.statements, finding.agreeing, strict=True):
        said = statement.predicate
        beside = f"; {len(agreeing)} more agree: {', '.join(agreeing)}" if agreeing else ""
        lines.append(f"  {said.node} on {said.engine.name} {said.engine.version}: {said.result_digest}{beside}")
    lines.append(f"  they differ in {', '.join(finding.differs)}")
    lines.append(f"  {_conclusion(finding)}")
    if not finding.same_engine:
        lines.append("  WebAssembly leaves the bits of a NaN open, and an engine may compute wrong, without a lie")
    return lines


def _conclusion(finding: Finding) -> str:
    if finding.self_contradiction:
        return f"{finding.nodes[0]} contradicts itself: one of its statements is false"
    if finding.one_node:
        return f"the two engines differ; that says nothing against {finding.nodes[0]}, which ran both"
    if finding.odd_one is not None:
        return f"{finding.odd_one} is the odd one; that is as much worth as the others are independent"
    if finding.same_engine:
        return "one of the two is false; which one, running the job again tells"
    return "the two engines differ; that says nothing against either node"
