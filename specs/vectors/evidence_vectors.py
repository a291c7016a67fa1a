"""Vectors of evidence: files that prove a contradiction with what they prove, and files to refuse, with the reason."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

from receipt_vectors import BY_ANYBODY, CLIENT, JOB, NOBODY, NONCE, STARTED, Key

from plasm.checking.evidence import EVIDENCE_TYPE, MAX_AGREEING, MAX_EVIDENCE_BYTES, check_evidence, make_evidence
from plasm.identity import did_key
from plasm.jobs.manifest import Job, Manifest, canonical_json, sha256
from plasm.jobs.receipt import PAYLOAD_TYPE, make_statement, pre_authentication_encoding, sign_receipt
from plasm.ports import Engine, Outcome, Verdict

NODES = {number: Key(bytes([number]) * 32) for number in range(11, 16)}
WASMTIME = Engine(name="wasmtime", version="50.0.1", configuration={"wasi": "plasm-preview1/3"})
WASMER = Engine(name="wasmer", version="1.1.0", configuration={"wasi": "plasm-preview1/3"})
NEWER = Engine(name="wasmtime", version="50.0.2", configuration={"wasi": "plasm-preview1/3"})
ANOTHER_JOB = Job(manifest=Manifest(module_hash=sha256(b"another module")))
TRUTH = Outcome(verdict=Verdict.EXITED, exit_code=0, stdout=b"dlroW ,olleH")
LIE = Outcome(verdict=Verdict.EXITED, exit_code=0, stdout=b"Hello, World")


def evidence() -> dict[str, Any]:
    honest, lying, third = _receipt(11, TRUTH), _receipt(12, LIE), _receipt(13, TRUTH, WASMER)
    valid = {
        "two nodes of one engine contradict each other": make_evidence(honest, lying),
        "a third node, of another engine, agrees with one of them": make_evidence(honest, lying, [third]),
        "a third node, of the one's engine, agrees with it, and the other ran another engine": make_evidence(
            honest, _receipt(12, LIE, WASMER), [_receipt(13, TRUTH)]
        ),
        "two nodes of two engines differ": make_evidence(honest, _receipt(12, LIE, WASMER)),
        "a node contradicts itself": make_evidence(honest, _receipt(11, LIE, nonce=bytes(16))),
        "a node ran two engines, and they differ": make_evidence(honest, _receipt(11, LIE, WASMER)),
        "a node ran two versions of an engine, and they differ": make_evidence(honest, _receipt(11, LIE, NEWER)),
        "they differ in the exit code alone": make_evidence(
            honest, _receipt(12, Outcome(verdict=Verdict.EXITED, exit_code=1, stdout=TRUTH.stdout))
        ),
        "the same engine ran out of fuel once and once not": make_evidence(
            honest, _receipt(12, Outcome(verdict=Verdict.OUT_OF_FUEL, stdout=TRUTH.stdout))
        ),
    }
    return {
        "largest": MAX_EVIDENCE_BYTES,
        "most_agreeing": MAX_AGREEING,
        "valid": [_with_finding(name, file) for name, file in valid.items()],
        "invalid": [{"why": why, "file": file.decode()} for why, file in _invalid(honest, lying, third).items()],
    }


def _with_finding(name: str, file: bytes) -> dict[str, Any]:
    finding = check_evidence(file)
    return {
        "name": name,
        "file": file.decode(),
        "job_digest": finding.job_digest,
        "nodes": list(finding.nodes),
        "differs": list(finding.differs),
        "agreeing": [list(side) for side in finding.agreeing],
        "self_contradiction": finding.self_contradiction,
        "same_engine": finding.same_engine,
        "odd_one": finding.odd_one,
    }


def _invalid(honest: bytes, lying: bytes, third: bytes) -> dict[str, bytes]:
    good = make_evidence(honest, lying, [third])
    forged = json.loads(lying)
    forged["signatures"][0]["keyid"] = NODES[14].peer
    timed_out = Outcome(verdict=Verdict.TIMED_OUT, stdout=b"half")
    overflow = Outcome(verdict=Verdict.TRAPPED, trap="stack_overflow")
    return {
        "two that agree": _written([honest, third]),
        "the same receipt twice": _written([honest, honest]),
        "one receipt alone": _written([honest]),
        "three receipts": _written([honest, lying, third]),
        "another job": _written([honest, _receipt(12, LIE, job=ANOTHER_JOB)]),
        "one of them timed out": _written([honest, _receipt(12, timed_out)]),
        "one of them exhausted its stack": _written([honest, _receipt(12, overflow)]),
        "out of fuel, and another engine": _written(
            [honest, _receipt(12, Outcome(verdict=Verdict.OUT_OF_FUEL), WASMER)]
        ),
        "one of them used a real clock": _written(
            [honest, _receipt(12, Outcome(verdict=Verdict.EXITED, exit_code=0, reproducible=False))]
        ),
        "signed by another key than the one it names": _written([honest, canonical_json(forged)]),
        "a third that agrees with neither": _written(
            [honest, lying], [_receipt(13, Outcome(verdict=Verdict.NOT_RUNNABLE))]
        ),
        "a third by one of the two": _written([honest, lying], [_receipt(11, TRUTH, nonce=bytes(16))]),
        "one key under two names, which agrees with itself": _written(
            [honest, lying], [_renamed(_receipt(12, LIE), did_key(NODES[12].peer))]
        ),
        "one key under two names, which contradicts itself": _written(
            [honest, _renamed(_receipt(11, LIE), did_key(NODES[11].peer))]
        ),
        "one of them by a key of small order": _written([honest, _by_nobody(lying)]),
        "two thirds by one node": _written([honest, lying], [third, _receipt(13, TRUTH)]),
        "more thirds than are allowed": _written(
            [honest, lying], [_receipt(13, TRUTH, nonce=bytes([number]) * 16) for number in range(MAX_AGREEING + 1)]
        ),
        "the receipts in another order": canonical_json(
            json.loads(good) | {"receipts": json.loads(good)["receipts"][::-1]}
        ),
        "a member more": good[:-1] + b',"version":1}',
        "another type": good.replace(b"evidence:1", b"evidence:2"),
        "a space": good.replace(b'"receipts":[', b'"receipts": ['),
        "something after it": good + b"\n",
        "empty": b"",
    }


def _receipt(
    number: int, outcome: Outcome, engine: Engine = WASMTIME, *, job: Job = JOB, nonce: bytes = NONCE
) -> bytes:
    key = NODES[number]
    statement = make_statement(
        job=job,
        outcome=outcome,
        engine=engine,
        isolation="cell",
        node=key.peer,
        client=CLIENT.peer,
        nonce=nonce,
        started=STARTED,
        finished=STARTED + datetime.timedelta(milliseconds=4),
    )
    return sign_receipt(statement, key, key.peer)


def _renamed(receipt: bytes, name: str, signature: bytes = b"") -> bytes:
    """The same, signed by the same key under another name, or with a signature that is given."""
    envelope = json.loads(receipt)
    (key,) = (each for each in NODES.values() if each.peer == envelope["signatures"][0]["keyid"])
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["node"] = name
    payload = canonical_json(statement)
    signature = signature or key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"] = [{"keyid": name, "sig": base64.b64encode(signature).decode()}]
    return canonical_json(envelope)


def _by_nobody(receipt: bytes) -> bytes:
    return _renamed(receipt, NOBODY, BY_ANYBODY)


def _written(receipts: list[bytes], agreeing: list[bytes] | None = None) -> bytes:
    return canonical_json(
        {
            "agreeing": [json.loads(each) for each in sorted(agreeing or [])],
            "receipts": [json.loads(each) for each in sorted(receipts)],
            "type": EVIDENCE_TYPE,
        }
    )
