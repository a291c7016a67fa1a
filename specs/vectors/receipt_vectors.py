"""Vectors of receipts: valid ones with all that they bind, and ones that must be refused, with the reason."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plasm.identity import base58_encode, did_key, peer_id
from plasm.jobs.manifest import Job, Manifest, canonical_json, result_digest, sha256
from plasm.jobs.receipt import (
    MAX_RECEIPT_BYTES,
    PAYLOAD_TYPE,
    make_statement,
    pre_authentication_encoding,
    sign_receipt,
)
from plasm.ports import Engine, Outcome, Usage, Verdict

NODE_SEED, CLIENT_SEED, OTHER_SEED = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
MODULE = b"\0asm\1\0\0\0"
STDIN = b"Hello, World"
NONCE = bytes(range(16))
STARTED = datetime.datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=datetime.UTC)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
NEUTRAL = b"\1" + bytes(31)
"""The encoding of the point of order 1."""
BY_ANYBODY = b"\x58" + b"\x66" * 31 + b"\1" + bytes(31)
"""A signature of anything by the key of order 1: the base point, and 1 times it. No half of it has a small order."""
NOBODY = base58_encode(bytes.fromhex("002408011220") + NEUTRAL)
JOB = Job(
    manifest=Manifest(module_hash=sha256(MODULE)), args=("--upper", "Grüße"), env={"LANG": "C"}, stdin=sha256(STDIN)
)


class Key:
    """A signer for vectors."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.peer = peer_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


NODE, CLIENT, OTHER = Key(NODE_SEED), Key(CLIENT_SEED), Key(OTHER_SEED)


def receipts() -> dict[str, Any]:
    exited = Outcome(
        verdict=Verdict.EXITED,
        exit_code=0,
        stdout=b"dlroW ,olleH",
        usage=Usage(fuel=48_123, wall_seconds=0.004512, cpu_seconds=0.003901, peak_memory_bytes=1_179_648),
    )
    late = Outcome(
        verdict=Verdict.TIMED_OUT,
        stdout=b"half",
        stderr=b"of it\n",
        usage=Usage(wall_seconds=60.0, cpu_seconds=59.5),
    )
    wrote = Outcome(
        verdict=Verdict.TRAPPED,
        trap="unreachable",
        files={"report/Grüße.txt": b"hello", "empty": b""},
        isolation="reused",
        usage=Usage(wall_seconds=0.001, cpu_seconds=0.001, peak_memory_bytes=65_536, peak_process_bytes=9_437_184),
    )
    first = _valid("a program that exited", exited, {"fuel": True, "memory": "page-guards", "optLevel": 2})
    second = _valid("a program that was stopped: no exit code, not reproducible", late, {})
    third = _valid("a program that wrote files and trapped, in a process that others had used", wrote, {})
    odd = '<>&/\\"\x7f\u2028\u2029\u00e9\U0001f600'
    escapes = Outcome(verdict=Verdict.EXITED, exit_code=0, files={odd.replace("/", "+"): b""})
    fourth = _valid(
        "texts that some encoders of JSON write as escapes: < > & U+2028 U+2029",
        escapes,
        {"flags": odd, "tab\\and <name>": "\t\b\x1b"},
    )
    return {"valid": [first, second, third, fourth], "invalid": _invalid(first)}


def _valid(name: str, outcome: Outcome, configuration: dict[str, str | int | bool]) -> dict[str, Any]:
    statement = make_statement(
        job=JOB,
        outcome=outcome,
        engine=Engine(name="wasmtime", version="48.0.0", configuration=configuration),
        isolation="cell",
        guards=("uid:nobody", "no_new_privs", "landlock:7", "seccomp", "rlimits"),
        node=NODE.peer,
        client=CLIENT.peer,
        nonce=NONCE,
        started=STARTED,
        finished=STARTED + datetime.timedelta(seconds=outcome.usage.wall_seconds),
    )
    envelope = sign_receipt(statement, NODE, NODE.peer)
    payload = base64.b64decode(json.loads(envelope)["payload"])
    return {
        "name": name,
        "node_seed": NODE_SEED.hex(),
        "node": NODE.peer,
        "client": CLIENT.peer,
        "nonce": NONCE.hex(),
        "job": json.loads(_json_of(JOB)),
        "module_hex": MODULE.hex(),
        "stdin_hex": STDIN.hex(),
        "stdout_hex": outcome.stdout.hex(),
        "stderr_hex": outcome.stderr.hex(),
        "files_hex": {path: content.hex() for path, content in outcome.files.items()},
        "statement": payload.decode(),
        "signed_hex": pre_authentication_encoding(PAYLOAD_TYPE, payload).hex(),
        "envelope": envelope.decode(),
    }


def _invalid(valid: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        *_broken_envelopes(valid["envelope"]),
        *_broken_signatures(valid["envelope"], valid["statement"].encode()),
        *_broken_statements(valid["statement"].encode()),
        *_keys_of_nobody(valid["statement"].encode()),
        *_about_something_else(valid),
    ]


def _broken_envelopes(good: str) -> list[dict[str, Any]]:
    document = json.loads(good)
    payload, signature = document["payload"], document["signatures"][0]
    tail = {"A": "B", "Q": "R", "g": "h", "w": "x", "E": "F", "U": "V", "I": "J", "M": "N"}
    sig = signature["sig"]
    loose = sig[:-3] + tail.get(sig[-3], "B") + "=="
    texts = {
        "empty": "",
        "cut short": good[:-1],
        "something after the envelope": good + "\n",
        "a space between members": good.replace('","', '", "', 1),
        "members in another order": json.dumps(dict(reversed(document.items())), separators=(",", ":")),
        "a member more": good[:-1] + ',"version":1}',
        "a member twice": good[:-1] + f',"payload":"{payload}"}}',
        "a member of the signature more": _text({**document, "signatures": [signature | {"cert": ""}]}),
        "no signature": _text({**document, "signatures": []}),
        "the signature twice": _text({**document, "signatures": [signature, signature]}),
        "an escape where none is needed": good.replace("application/vnd", "application\\/vnd"),
        "another payload type": good.replace(PAYLOAD_TYPE, "application/vnd.in-toto+jsom"),
        "a payload in the URL alphabet": good.replace(payload, payload.replace("+", "-").replace("/", "_") + "-_=="),
        "a payload without padding": _text({**document, "payload": base64.b64encode(b"{}").decode().rstrip("=")}),
        "a line break in the payload": good.replace(payload, payload[:76] + "\\n" + payload[76:]),
        "a signature whose last base64 digit has bits that count for nothing": good.replace(sig, loose),
        "a signature of 63 bytes": _text({**document, "signatures": [signature | {"sig": "A" * 84}]}),
        "a number for a payload": _text({**document, "payload": 1}),
        "an array": f"[{good}]",
        "larger than 256 KiB": _text({**document, "payload": "A" * MAX_RECEIPT_BYTES}),
        "a byte order mark": "\ufeff" + good,
    }
    entries = [_refused(why, text.encode()) for why, text in texts.items()]
    return [*entries, _refused("not UTF-8", good.encode()[:-2] + b"\xff" + good.encode()[-2:])]


def _broken_signatures(good: str, payload: bytes) -> list[dict[str, Any]]:
    document = json.loads(good)
    signature = base64.b64decode(document["signatures"][0]["sig"])
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    changed = payload.replace(b'"fuel":48123', b'"fuel":48122')
    named = did_key(NODE.peer)
    cases = {
        "a bit of the signature changed": _envelope(payload, flipped),
        "the statement changed and the signature kept": _envelope(changed, signature),
        "signed by another key under the node's name": _envelope(payload, OTHER.sign(_encoded(payload))),
        "signed by another node under its own name": _envelope(payload, OTHER.sign(_encoded(payload)), OTHER.peer),
        "the statement alone signed, without its pre-authentication encoding": _envelope(payload, NODE.sign(payload)),
        "the key named by its did:key": _envelope(payload, NODE.sign(_encoded(payload)), named),
        "no signature at all": _envelope(payload, b""),
        "a signature whose second half has the order of the group added": _envelope(payload, _with_order(signature)),
        "a signature whose first half is a point of small order": _envelope(payload, _with_small_order(payload)),
    }
    return [_refused(why, envelope) for why, envelope in cases.items()]


def _broken_statements(good: bytes) -> list[dict[str, Any]]:
    """All of them signed by the node itself, as a node would that is broken or means harm."""

    def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
        statement = json.loads(good)
        change(statement)
        return canonical_json(statement)

    def predicate(**values: object) -> bytes:
        return changed(lambda statement: statement["predicate"].update(values))

    def subject(change: Callable[[list[Any]], object]) -> bytes:
        return changed(lambda statement: change(statement["subject"]))

    def usage(**values: object) -> bytes:
        return changed(lambda statement: statement["predicate"]["usage"].update(values))

    def engine(**values: object) -> bytes:
        return changed(lambda statement: statement["predicate"]["engine"].update(values))

    def trapped(trap: object) -> bytes:
        digest = result_digest("trapped", None, outputs())
        return predicate(verdict="trapped", exitCode=None, trap=trap, resultDigest=digest)

    def outputs(*files: str) -> dict[str, Any]:
        empty = sha256(b"")
        return {"stderr": empty, "stdout": sha256(b"dlroW ,olleH"), **dict.fromkeys(files, empty)}

    def wrote(*files: str) -> bytes:
        """With outputs of these names too, and all else as it must be for them."""
        named = outputs(*files)
        subject = [{"digest": {"sha256": digest[7:]}, "name": name} for name, digest in sorted(named.items())]
        digest = result_digest("exited", 0, named)
        return changed(
            lambda statement: (
                statement.update(subject=subject),
                statement["predicate"].update(resultDigest=digest),
            )
        )

    late = result_digest("timed_out", None, outputs())
    times = {
        "without a fraction": "2026-03-01T12:00:00Z",
        "with milliseconds": "2026-03-01T12:00:00.250Z",
        "with an offset": "2026-03-01T12:00:00.250000+00:00",
        "with a small t": "2026-03-01t12:00:00.250000Z",
        "with a comma": "2026-03-01T12:00:00,250000Z",
        "with a line break": "2026-03-01T12:00:00.250000Z\n",
        "of a day that is not there": "2026-02-30T12:00:00.250000Z",
        "of an hour that is not there": "2026-02-28T24:00:00.250000Z",
        "of a leap second": "2016-12-31T23:59:60.000000Z",
        "of the year 0": "0000-03-01T12:00:00.250000Z",
        "in digits of another script": "2026-03-01T12:00:00.25000\u0660Z",
        "that is a word": "yesterday \x1b]0;x\x07",
        "that is empty": "",
    }
    wrong = result_digest("exited", 1, {"stderr": sha256(b""), "stdout": sha256(b"dlroW ,olleH")})
    payloads = {
        "the statement has a space": good.replace(b'"_type":', b'"_type": '),
        "the statement has its members in another order": json.dumps(
            dict(reversed(json.loads(good).items())), separators=(",", ":"), ensure_ascii=False
        ).encode(),
        "the statement has a member twice": good[:-1] + b',"predicateType":"urn:phase:receipt:1"}',
        "the statement has an escape where none is needed": good.replace(b'"cell"', b'"cel\\u006c"'),
        "the statement writes an integer as 48123.0": good.replace(b'"fuel":48123', b'"fuel":48123.0'),
        "the statement writes an integer with an exponent": good.replace(b'"exitCode":0', b'"exitCode":0e0'),
        "the statement has a member more": changed(lambda statement: statement.update(more=1)),
        "the predicate has a member more": predicate(more=1),
        "the predicate lacks a member": changed(lambda statement: statement["predicate"].pop("nonce")),
        "another version of in-toto's statement": changed(
            lambda statement: statement.update(_type="https://in-toto.io/Statement/v0.1")
        ),
        "another predicate": changed(lambda statement: statement.update(predicateType="urn:phase:receipt:2")),
        "the statement names another node than its signer": predicate(node=OTHER.peer),
        "a result digest of another exit code": predicate(resultDigest=wrong),
        "another exit code than the result digest's": predicate(exitCode=1),
        "an exit code with another verdict than exited": predicate(verdict="trapped"),
        "a trap with another verdict than trapped": predicate(trap="unreachable"),
        "the verdict exited without an exit code": predicate(exitCode=None),
        "an exit code above 255": predicate(exitCode=256),
        "a verdict that is not known": predicate(verdict="bored"),
        "a nonce in capitals": predicate(nonce=NONCE.hex().upper()),
        "a digest without its algorithm": predicate(jobDigest=JOB.digest()[7:]),
        "a number below zero": changed(lambda statement: statement["predicate"]["usage"].update(wallMicroseconds=-1)),
        "a number of 2^53": changed(lambda statement: statement["predicate"]["usage"].update(fuel=2**53)),
        "a number that is a boolean": predicate(exitCode=False),
        "a number that is a text": usage(fuel="48123"),
        "a number that may not be null": usage(wallMicroseconds=None),
        "a boolean that is a number": predicate(reproducible=1),
        "a text that may not be null": predicate(isolation=None),
        "a text of 257 characters": predicate(isolation="x" * 257),
        "33 guards": predicate(guards=["x"] * 33),
        "the number -0": good.replace(b'"exitCode":0', b'"exitCode":-0'),
        "a text with half a pair of surrogates": good.replace(b'"cell"', b'"\\ud83d"'),
        "the statement begins with a byte order mark": b"\xef\xbb\xbf" + good,
        "the statement ends in a line break": good + b"\n",
        "a nonce of 31 digits": predicate(nonce=NONCE.hex()[:-1]),
        "a nonce with a line break": predicate(nonce=NONCE.hex() + "\n"),
        "a digest in capitals": predicate(stdinDigest=sha256(STDIN).upper().replace("SHA", "sha")),
        "a subject's digest in capitals": subject(
            lambda outputs: outputs[0]["digest"].update(sha256=outputs[0]["digest"]["sha256"].upper())
        ),
        "a trap that is not in the list": trapped("my own trap"),
        "a trap in capitals": trapped("Unreachable"),
        "a trap that is empty": trapped(""),
        "reproducible with the verdict timed_out": predicate(
            verdict="timed_out", exitCode=None, resultDigest=late, reproducible=True
        ),
        "a client that is no peer ID": predicate(client="\x1b[31m not a peer"),
        "a client named by its did:key": predicate(client=did_key(CLIENT.peer)),
        "a client of small order": predicate(client=NOBODY),
        "a name of the configuration beyond ASCII": engine(configuration={"gr\u00f6\u00dfe": 1}),
        "names of the configuration that UTF-8 and UTF-16 sort differently": engine(
            configuration={"\uff3a": 1, "\U0001f600": 2}
        ),
        "a name of the configuration with a line break": engine(configuration={"a\n": 1}),
        "a number in the configuration that is no integer": engine(configuration={"a": 1.5}),
        "a list in the configuration": engine(configuration={"a": []}),
        "a null in the configuration": engine(configuration={"a": None}),
        "the job ended before it began": predicate(finishedAt="2026-03-01T12:00:00.249999Z"),
        **{f"the beginning at a time {what}": predicate(startedAt=time) for what, time in times.items()},
        "the end at a time without a fraction": predicate(finishedAt="2026-03-01T12:00:01Z"),
        "a file where another one needs a folder": wrote("out/a", "out/a/b"),
        "a file where another one needs a folder, and a third between them": wrote("out/a", "out/a.b", "out/a/b/c"),
        "an output that is neither a stream nor below out/": wrote("report"),
        "an output that leaves out/": wrote("out/../a"),
        "an output with an empty component": wrote("out//a"),
        "the folder out/ itself": wrote("out/"),
        "an output with a NUL": wrote("out/a\0b"),
        "an output whose path has 201 bytes": wrote("out/" + "x" * 201),
        "an output is missing": subject(lambda outputs: outputs.pop()),
        "the outputs are in another order": subject(lambda outputs: outputs.reverse()),
        "an output stands there twice": subject(lambda outputs: outputs.append(outputs[-1])),
        "a subject by another hash": subject(lambda outputs: outputs[0].update(digest={"sha512": "0" * 128})),
        "no JSON": b"receipt",
        "an empty statement": b"",
        "the statement is an array": b"[]",
    }
    return [_refused(why, _envelope(payload, NODE.sign(_encoded(payload)))) for why, payload in payloads.items()]


def _keys_of_nobody(good: bytes) -> list[dict[str, Any]]:
    """For the key of order 1 a point and how often it is the base point are a signature of anything."""
    twin = base58_encode(bytes.fromhex("002408011220") + (2**255 - 18).to_bytes(32, "little"))
    entries = []
    for why, name in (
        ("a key of small order", NOBODY),
        ("a second encoding of a key of small order", twin),
    ):
        statement = json.loads(good)
        statement["predicate"]["node"] = name
        envelope = _envelope(canonical_json(statement), BY_ANYBODY, name)
        entries.append(_refused(why, envelope) | {"held_against": {"node": name}})
    statement = json.loads(good)
    statement["predicate"]["node"] = named = did_key(NODE.peer)
    payload = canonical_json(statement)
    signed = _envelope(payload, NODE.sign(_encoded(payload)), named)
    why = "the did:key in all places, also in what it is held against"
    return [*entries, _refused(why, signed) | {"held_against": {"node": named}}]


def _with_order(signature: bytes) -> bytes:
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    return signature[:32] + scalar.to_bytes(32, "little")


def _with_small_order(payload: bytes) -> bytes:
    """What the node's key can sign, with a nonce of zero, and some libraries take (RFC 8032, section 5.1.6)."""
    secret = bytearray(hashlib.sha512(NODE_SEED).digest()[:32])
    secret[0] &= 248
    secret[31] = secret[31] & 127 | 64
    challenge = hashlib.sha512(NEUTRAL + NODE.public_key + _encoded(payload)).digest()
    product = int.from_bytes(challenge, "little") * int.from_bytes(secret, "little") % GROUP_ORDER
    return NEUTRAL + product.to_bytes(32, "little")


def _about_something_else(valid: dict[str, Any]) -> list[dict[str, Any]]:
    """Genuine receipts that do not prove what they are held against."""
    job = valid["job"]
    envelope = valid["envelope"].encode()
    predicate = json.loads(valid["statement"])["predicate"]
    untrue = {
        "limits that are not those of its job digest": {"limits": predicate["limits"] | {"memoryMb": 512}},
        "a standard input that is not that of its job digest": {"stdinDigest": sha256(b"another")},
    }
    cases = {
        "held against another node": {"node": OTHER.peer},
        "held against another nonce": {"nonce": bytes(16).hex()},
        "held against another client": {"client": OTHER.peer},
        "held against another runtime": {"runtime": "wasm3"},
        "held against another output": {"stdout_hex": b"another".hex()},
        "held against another stderr": {"stderr_hex": b"another".hex()},
        "held against a job with other arguments": {"job": job | {"args": ["--lower"]}},
        "held against a job with another input": {"job": job | {"stdin": sha256(b"another")}},
        "held against a job with another module": {
            "job": job | {"manifest": job["manifest"] | {"module_hash": sha256(b"another")}}
        },
        "held against a job with other limits": {"job": job | {"manifest": job["manifest"] | {"timeout_seconds": 61}}},
        "held against a job with more capabilities": {
            "job": job | {"manifest": job["manifest"] | {"capabilities": ["clock"]}}
        },
    }
    spent = {
        "verdict": "out_of_fuel",
        "exitCode": None,
        "resultDigest": result_digest("out_of_fuel", None, {"stderr": sha256(b""), "stdout": sha256(b"dlroW ,olleH")}),
    }
    untrue |= {
        "not reproducible, though the job asks for neither clock nor random bytes": {"reproducible": False},
        "out of fuel, though the job sets no limit of it": spent,
    }
    entries = [_refused(why, envelope) | {"held_against": against} for why, against in cases.items()]
    for why, claim in untrue.items():
        payload = canonical_json(json.loads(valid["statement"]) | {"predicate": predicate | claim})
        entries.append(_refused(why, _envelope(payload, NODE.sign(_encoded(payload)))) | {"held_against": {}})
    return entries


def _refused(why: str, envelope: bytes) -> dict[str, Any]:
    """What is not UTF-8 is written in hexadecimal, and what is long as parts."""
    filler = b"A" * MAX_RECEIPT_BYTES
    if filler in envelope:
        before, _, after = envelope.decode().partition(filler.decode())
        return {"why": why, "parts": [before, {"repeat": "A", "times": len(filler)}, after]}
    try:
        return {"why": why, "envelope": envelope.decode()}
    except UnicodeDecodeError:
        return {"why": why, "envelope_hex": envelope.hex()}


def _encoded(payload: bytes) -> bytes:
    return pre_authentication_encoding(PAYLOAD_TYPE, payload)


def _envelope(payload: bytes, signature: bytes, keyid: str = NODE.peer) -> bytes:
    return canonical_json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
        }
    )


def _text(document: dict[str, Any]) -> str:
    return canonical_json(document).decode()


def _json_of(job: Job) -> bytes:
    import msgspec

    return msgspec.json.encode(job)
