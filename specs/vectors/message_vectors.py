"""Vectors of the messages of ``/phase/job/1``. A byte string of MessagePack is written ``{"hex": "…"}`` in JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from receipt_vectors import CLIENT

from plasm.jobs.framing import MAX_CHUNK
from plasm.jobs.manifest import Job, Manifest, job_id, sha256
from plasm.jobs.messages import (
    Accepted,
    Cancel,
    Cancelled,
    Describe,
    Description,
    Failed,
    Fetch,
    Message,
    Offer,
    Output,
    Piece,
    Progress,
    Rejected,
    Result,
    Unsupported,
)
from plasm.ports import Digest

MODULE = b"\0asm\1\0\0\0"
JOB = Job(manifest=Manifest(module_hash=sha256(MODULE)), args=("a",), env={"k": "v"}, stdin=sha256(b"in"))
ID = job_id(CLIENT.peer, bytes(16), Digest(JOB.digest()))
OFFER = Offer(job=JOB, digest=JOB.digest(), nonce=bytes(16), module_size=len(MODULE), input_size=2, input=b"in")

REQUESTS: dict[str, Message] = {
    "an offer with its input": OFFER,
    "an offer of a large input, for one runtime on one architecture": Offer(
        job=JOB,
        digest=JOB.digest(),
        nonce=bytes(range(16)),
        module_size=len(MODULE),
        input_size=70_000,
        arch="x86_64",
        runtime="wasmtime",
    ),
    "a fetch that waits": Fetch(job_id=ID),
    "a fetch that does not": Fetch(job_id=ID, wait=False),
    "a cancel": Cancel(job_id=ID),
    "a describe": Describe(),
    "a piece": Piece(data=MODULE),
}
REPLIES: dict[str, Message] = {
    "accepted, nothing is needed": Accepted(job_id=ID),
    "accepted, everything is needed": Accepted(
        job_id=ID, needs=("module", "input"), estimated_start_seconds=3, keep_seconds=86_400
    ),
    "rejected": Rejected(reason="QueueFull", detail="256 jobs are waiting"),
    "queued": Progress(state="queued", ahead=4),
    "running": Progress(state="running"),
    "a result with its output": Result(
        job_id=ID,
        receipt=b"{}",
        outputs=(Output(name="stdout", size=2), Output(name="stderr", size=0), Output(name="out/a", size=1)),
        data=b"ni!",
    ),
    "a result whose output follows": Result(
        job_id=ID,
        receipt=b"{}",
        outputs=(Output(name="stdout", size=600_000), Output(name="stderr", size=1)),
        detail="trap: unreachable",
    ),
    "cancelled": Cancelled(job_id=ID),
    "a module that this node cannot prepare": Failed(reason="ModuleNotPrepared", detail="it took longer than 60 s"),
    "failed": Failed(reason="UnknownJob", detail="never accepted, or kept no longer"),
    "unsupported": Unsupported(),
    "a description": Description(
        software="plasm/0.1.0",
        arch="x86_64",
        runtimes=("wasmtime",),
        slots=2,
        free=1,
        queued=0,
        memory_mb=4096,
        max_timeout_seconds=3600,
    ),
    "a piece of output": Piece(data=b"out"),
}


def messages() -> dict[str, Any]:
    offer = _plain(OFFER)
    sparse = offer | {"job": {"manifest": {"module_hash": JOB.manifest.module_hash}}}
    fetch, describe = _plain(REQUESTS["a fetch that waits"]), {"type": "describe", "version": 1}
    more_requests = [
        ("a describe without its version, which is then 1", {"type": "describe"}),
        ("a type that does not come first", {"version": 1, "type": "describe"}),
        ("a member that is not known yet", describe | {"later": [1, {"two": None}]}),
        ("a job whose members have their defaults", sparse | {"digest": sha256(b"of another job")}),
    ]
    more_replies = [
        ("a state that is not known yet", {"type": "progress", "state": "resting"}),
        ("a reason that is not known yet", {"type": "rejected", "reason": "Tired"}),
        ("other versions", {"type": "unsupported", "versions": [2, 3]}),
        ("a member that is not known yet", {"type": "cancelled", "job_id": ID, "later": 1}),
    ]
    file = {"path": "a", "digest": sha256(b""), "size": 0}
    twice = _map(file, size=0)
    longer = (
        "numbers and lengths in longer forms than they need",
        {"type": "fetch", "version": 1, "job_id": ID, "wait": False},
        b"\xdf\0\0\0\4\xd9\4type\xda\0\5fetch\xdb\0\0\0\7version\xd3\0\0\0\0\0\0\0\1"
        b"\xa6job_id\xda\0\x20" + ID.encode() + b"\xa4wait\xc2",
    )
    bad_requests: list[tuple[str, Any]] = [
        ("no map", [1, 2]),
        ("no type", {"version": 1}),
        ("a type that is not known", {"type": "dance", "version": 1}),
        ("a type in capitals", {"type": "Describe", "version": 1}),
        ("a reply, sent by a client", {"type": "cancelled", "job_id": ID}),
        ("a version that is no integer", {"type": "describe", "version": "1"}),
        ("a job id of 31 digits", fetch | {"job_id": ID[:-1]}),
        ("a job id in capitals", fetch | {"job_id": "A" * 32}),
        ("a job id with a line break", fetch | {"job_id": ID + "\n"}),
        ("a flag that is a number", fetch | {"wait": 1}),
        ("no job", {name: value for name, value in offer.items() if name != "job"}),
        ("a nonce of 15 bytes", offer | {"nonce": bytes(15)}),
        ("a nonce that is text", offer | {"nonce": "0" * 16}),
        ("an inline input of more than 64 KiB", offer | {"input": bytes(65_537)}),
        ("a module of more than 256 MiB", offer | {"module_size": 2**28 + 1}),
        ("a size below zero", offer | {"input_size": -1}),
        ("a size that is no integer", offer | {"module_size": 8.0}),
        ("a runtime's name of 65 characters", offer | {"runtime": "w" * 65}),
        ("an unknown member in the job", offer | {"job": offer["job"] | {"extra": 1}}),
        ("a piece that is text", {"type": "piece", "data": "text"}),
        ("a piece that is empty", {"type": "piece", "data": b""}),
        ("null where it is not allowed", offer | {"input_size": None}),
        ("a version that is a boolean", describe | {"version": True}),
        ("a piece that is too large", {"type": "piece", "data": bytes(MAX_CHUNK + 1)}),
    ]
    raw_requests = [
        ("nothing", b""),
        ("a byte that MessagePack never uses", b"\xc1"),
        ("a map that is cut short", msgspec.msgpack.encode(describe)[:-1]),
        ("something after the map", msgspec.msgpack.encode(describe) + b"\0"),
        ("a text that is not UTF-8", b"\x81\xa4type\xa8descri\xff\xff"),
        ("arrays in arrays", b"\x91" * 2000),
        ("a member twice", _map(fetch, job_id="0" * 32)),
        ("a member twice with the same value", _map(fetch, job_id=ID)),
        ("the type twice", _map(describe, type="describe")),
        ("the version twice", _map({"type": "dance", "version": 2}, version=2)),
        ("a member that is not known twice", _map(describe | {"later": 1}, later=2)),
        ("a member twice in the job", _map(offer, "job", _map(offer["job"], stdin=sha256(b"")))),
        (
            "a member twice in the manifest",
            _map(offer, "job", _map(offer["job"], "manifest", _map(offer["job"]["manifest"], memory_mb=1))),
        ),
        ("a variable twice", _map(offer, "job", _map(offer["job"], "env", _map({"k": "v"}, k="w")))),
        ("a member twice in an input file", _map(offer, "job", _map(offer["job"], "inputs", b"\x91" + twice))),
        ("a member whose name is bytes", b"\x83\xa4type\xa8describe\xa7version\x01\xc4\x05later\x01"),
        ("a member whose name is a number", b"\x83\xa4type\xa8describe\xa7version\x01\x07\x01"),
        ("a member whose name is not UTF-8", b"\x83\xa4type\xa8describe\xa7version\x01\xa1\xff\x01"),
        ("a type that is bytes", b"\x81\xa4type\xc4\x08describe"),
        ("an extension type where a number is due", b"\x82\xa4type\xa8describe\xa7version\xd4\x00\x01"),
    ]
    raw_replies = [
        ("a member twice", _map({"type": "cancelled", "job_id": ID}, job_id=ID)),
        (
            "a member twice in an output",
            _map(
                {"type": "result", "job_id": ID, "receipt": b"{}"},
                "outputs",
                b"\x91" + _map({"name": "stdout", "size": 0}, size=1),
            ),
        ),
    ]
    bad_replies: list[tuple[str, Any]] = [
        ("a request, sent by a node", describe),
        ("a result without a receipt", {"type": "result", "job_id": ID}),
        ("a receipt that is too large", {"type": "result", "job_id": ID, "receipt": bytes(262_145)}),
        (
            "an inline output that is too large",
            {"type": "result", "job_id": ID, "receipt": b"", "data": bytes(65_537)},
        ),
        (
            "an output of more than a TiB",
            {"type": "result", "job_id": ID, "receipt": b"", "outputs": [{"name": "stdout", "size": 2**40 + 1}]},
        ),
        ("a detail of 1025 characters", {"type": "failed", "reason": "NodeFailed", "detail": "x" * 1025}),
        ("a number of 2^53", {"type": "accepted", "job_id": ID, "keep_seconds": 2**53}),
        ("more than two needs", {"type": "accepted", "job_id": ID, "needs": ["module", "input", "more"]}),
    ]
    return {
        "requests": {
            "valid": [_entry(name, _plain(message)) for name, message in REQUESTS.items()]
            + [_entry(name, decoded) for name, decoded in more_requests]
            + [{"name": longer[0], "decoded": longer[1], "hex": longer[2].hex()}],
            "unsupported": [
                _entry("a known request of another version", {"type": "describe", "version": 2}),
                _entry("an unknown request of another version", {"type": "dance", "version": 0}),
            ],
            "invalid": [_refused(name, msgspec.msgpack.encode(body)) for name, body in bad_requests]
            + [_refused(name, body) for name, body in raw_requests],
        },
        "replies": {
            "valid": [_entry(name, _plain(message)) for name, message in REPLIES.items()]
            + [_entry(name, decoded) for name, decoded in more_replies],
            "invalid": [_refused(name, msgspec.msgpack.encode(body)) for name, body in bad_replies]
            + [_refused(name, body) for name, body in raw_replies],
        },
    }


def _map(members: dict[str, Any], name: str = "", packed: bytes = b"", **twice: Any) -> bytes:
    """A map of these members, with `name` replaced by what is packed already and `twice` added once more."""
    rest = {each: value for each, value in members.items() if each != name}
    pairs = [*rest.items(), *twice.items()]
    body = b"".join(msgspec.msgpack.encode(each) + msgspec.msgpack.encode(value) for each, value in pairs)
    if name:
        body += msgspec.msgpack.encode(name) + packed
    return bytes([0x80 + len(pairs) + bool(name)]) + body


def _plain(message: Message) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    return decoded


def _entry(name: str, decoded: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "decoded": _bytes_as_hex(decoded), "hex": msgspec.msgpack.encode(decoded).hex()}


def _refused(why: str, body: bytes) -> dict[str, Any]:
    """Long runs of one byte are written as ``{"repeat": "00", "times": n}`` between what is around them."""
    for filler in (b"\0", b"x", b"\x91"):
        run = filler * 1000
        start = body.find(run)
        if start >= 0:
            end = start
            while body[end : end + 1] == filler:
                end += 1
            parts = [body[:start].hex(), {"repeat": filler.hex(), "times": end - start}, body[end:].hex()]
            return {"why": why, "parts": [part for part in parts if part]}
    return {"why": why, "parts": [body.hex()] if body else []}


def _bytes_as_hex(value: Any) -> Any:
    match value:
        case bytes():
            return {"hex": value.hex()}
        case dict():
            return {name: _bytes_as_hex(each) for name, each in value.items()}
        case list():
            return [_bytes_as_hex(each) for each in value]
    return value
