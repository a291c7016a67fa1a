"""What nodes say in these tests: statements, receipts and verified answers about one job."""

from __future__ import annotations

import datetime

from plasm.checking.comparing import KNOWN_RULES
from plasm.jobs.conversation import Delivered, Submission
from plasm.jobs.manifest import Job, Manifest, sha256
from plasm.jobs.receipt import Statement, make_statement, outputs_of, sign_receipt, verify_receipt
from plasm.ports import Engine, Found, Outcome, PeerId, Usage, Verdict
from plasm.testing import FakeSigner

MODULE = b"a module"
STDIN = b"in"
JOB = Job(manifest=Manifest(module_hash=sha256(MODULE)), stdin=sha256(STDIN))
OTHER_JOB = Job(manifest=Manifest(module_hash=sha256(b"another module")))
SUBMISSION = Submission(job=JOB, module=MODULE, stdin=STDIN)
CLIENT = FakeSigner(100).peer
ENGINE = Engine(name="wasmtime", version="50.0.1", configuration={"fuel": True, "wasi": KNOWN_RULES})
OTHER_ENGINE = Engine(name="v8", version="20", configuration={"wasi": KNOWN_RULES})
STARTED = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def node(number: int) -> PeerId:
    return FakeSigner(number).peer


def found(number: int) -> Found:
    return Found(node(number), (f"/memory/{number}/p2p/{node(number)}",), "given")


def exited(stdout: bytes = b"out", code: int = 0, **rest: object) -> Outcome:
    return Outcome(verdict=Verdict.EXITED, exit_code=code, stdout=stdout, **rest)


def ended(verdict: Verdict, **rest: object) -> Outcome:
    return Outcome(verdict=verdict, stdout=b"out", **rest)


def receipt(
    outcome: Outcome | None = None,
    *,
    by: int = 1,
    engine: Engine = ENGINE,
    job: Job = JOB,
    nonce: bytes = bytes(16),
    seconds: float = 1.0,
) -> bytes:
    """The receipt of node `by` about a run of `job` with that outcome."""
    signer = FakeSigner(by)
    statement = make_statement(
        job=job,
        outcome=outcome if outcome is not None else exited(),
        engine=engine,
        isolation="cell",
        node=signer.peer,
        client=CLIENT,
        nonce=nonce,
        started=STARTED,
        finished=STARTED + datetime.timedelta(seconds=seconds),
    )
    return sign_receipt(statement, signer, signer.peer)


def statement(outcome: Outcome | None = None, *, by: int = 1, **about: object) -> Statement:
    return verify_receipt(receipt(outcome, by=by, **about), node(by))


def answer(outcome: Outcome | None = None, *, by: int = 1, **about: object) -> Delivered:
    """What a client has in hand once it has verified that node's answer."""
    outcome = outcome if outcome is not None else exited()
    signed = receipt(outcome, by=by, **about)
    return Delivered(
        job_id="0" * 32,
        node=node(by),
        statement=verify_receipt(signed, node(by)),
        receipt=signed,
        outputs=outputs_of(outcome),
    )


def used(fuel: int) -> Usage:
    return Usage(fuel=fuel, wall_seconds=fuel / 100, cpu_seconds=fuel / 200, peak_memory_bytes=fuel)
