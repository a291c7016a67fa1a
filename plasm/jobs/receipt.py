"""Receipts: the node's signed statement about one outcome.

A receipt is a DSSE envelope (secure-systems-lab DSSE v1, ``application/vnd.in-toto+json``) around an in-toto Statement
v1 whose subjects are the outputs and whose predicate binds everything that a client needs to hold it against: see
``specs/receipt.md``. Stock tools read it; this reader takes only the canonical form, so that no bit of it can change.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plasm.errors import one_line
from plasm.identity import InvalidIdentity, has_small_order, peer_key
from plasm.jobs.manifest import Job, canonical_json, result_digest, sha256
from plasm.jobs.outputs import OUT_PREFIX, STDERR, STDOUT, check_names
from plasm.jobs.paths import InvalidPath
from plasm.ports import Digest, Engine, Outcome, PeerId, Signer, Verdict

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:phase:receipt:1"
MAX_OUT_FILES = 256
MAX_RECEIPT_BYTES = 256 * 1024
MAX_COUNT: Final = 2**53 - 1
"""The largest integer that every reader of JSON keeps."""

Text = Annotated[str, msgspec.Meta(max_length=256)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


def _shaped(pattern: str, length: int) -> msgspec.Meta:
    # The pattern is for readers of the schema: one for each text would take longer than all the rest of reading, so
    # that they are held against one pattern together.
    return msgspec.Meta(min_length=length, max_length=length, extra_json_schema={"pattern": pattern})


_HEX, _PREFIXED, _NONCE = "[0-9a-f]{64}", "sha256:[0-9a-f]{64}", "[0-9a-f]{32}"
_MOMENT = r"[0-9]{4}-[01][0-9]-[0-3][0-9]T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"
_SHAPED: Final = re.compile(rf"(?:{_HEX}\n)+(?:{_PREFIXED}\n){{5}}{_NONCE}\n{_MOMENT}\n{_MOMENT}\n", re.ASCII)
Hex = Annotated[str, _shaped(f"^{_HEX}$", 64)]
PrefixedHex = Annotated[str, _shaped(f"^{_PREFIXED}$", 71)]
Nonce = Annotated[str, _shaped(f"^{_NONCE}$", 32)]
Moment = Annotated[str, _shaped(f"^{_MOMENT}$", 27)]
"""RFC 3339, UTC, six digits of a second; that the day exists is checked beside it. Hour 24, which Python reads from
3.14 on, would be a second text for midnight."""
Trap = Literal[
    "unreachable",
    "memory_out_of_bounds",
    "table_out_of_bounds",
    "indirect_call_to_null",
    "bad_signature",
    "integer_overflow",
    "integer_division_by_zero",
    "bad_conversion_to_integer",
    "null_reference",
    "heap_misaligned",
    "allocation_too_large",
    "uncaught_exception",
    "stack_overflow",
    "other",
]
TRAPS: Final[frozenset[str]] = frozenset(get_args(Trap))


class ReceiptRefused(Exception):
    """The receipt does not prove what it was held against; the message is one line and says why."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class DigestSet(_Part, frozen=True, kw_only=True):
    """An in-toto DigestSet of SHA-256 alone."""

    sha256: Hex


class Subject(_Part, frozen=True, kw_only=True):
    """An output."""

    digest: DigestSet
    name: Text


class EngineClaim(_Part, frozen=True, kw_only=True):
    """What ran the code."""

    configuration: dict[Text, Text | Count | bool]
    name: Text
    version: Text


class LimitsClaim(_Part, frozen=True, kw_only=True):
    """The limits that held, as the manifest gave them."""

    cpu_cores: Count
    file_bytes: Count
    fuel: Count | None
    host_calls: Count
    memory_mb: Count
    output_bytes: Count
    timeout_seconds: Count


class UsageClaim(_Part, frozen=True, kw_only=True):
    """What the run used. Fuel is comparable within one engine, version and configuration only."""

    cpu_microseconds: Count
    fuel: Count | None
    peak_memory_bytes: Count | None
    peak_process_bytes: Count | None
    wall_microseconds: Count


class Predicate(_Part, frozen=True, kw_only=True):
    """Everything that a receipt binds besides the outputs."""

    client: Text
    engine: EngineClaim
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)] | None
    finished_at: Moment
    guards: Annotated[tuple[Text, ...], msgspec.Meta(max_length=32)]
    input_digest: PrefixedHex
    isolation: Text
    job_digest: PrefixedHex
    limits: LimitsClaim
    module_digest: PrefixedHex
    node: Text
    nonce: Nonce
    reproducible: bool
    result_digest: PrefixedHex
    started_at: Moment
    stdin_digest: PrefixedHex
    trap: Trap | None
    usage: UsageClaim
    verdict: Verdict


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An in-toto Statement v1 about one outcome."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(default=STATEMENT_TYPE, name="_type")
    predicate: Predicate
    predicate_type: Literal["urn:phase:receipt:1"] = msgspec.field(default=PREDICATE_TYPE, name="predicateType")
    subject: Annotated[tuple[Subject, ...], msgspec.Meta(min_length=2, max_length=2 + MAX_OUT_FILES)]

    @property
    def digests(self) -> dict[str, Digest]:
        """The digests of the outputs by their names."""
        return {subject.name: Digest("sha256:" + subject.digest.sha256) for subject in self.subject}

    def output(self, name: str) -> Digest:
        """The digest of the output `name`. Raises :exc:`KeyError`."""
        return self.digests[name]


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: Text
    sig: Text


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payloadType: str
    signatures: Annotated[tuple[_Signature, ...], msgspec.Meta(min_length=1, max_length=1)]


_statements = msgspec.json.Decoder(Statement)
_envelopes = msgspec.json.Decoder(_Envelope)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """DSSE's PAE: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def input_digest(job: Job) -> Digest:
    """SHA-256 over what the program is given: arguments, environment, standard input and files."""
    return sha256(
        canonical_json(
            {
                "args": list(job.args),
                "env": [list(pair) for pair in sorted(job.env.items(), key=lambda pair: pair[0].encode())],
                "inputs": [[file.path, file.digest] for file in job.inputs],
                "stdin": job.stdin,
                "type": "urn:phase:input:1",
            }
        )
    )


def outputs_of(outcome: Outcome) -> dict[str, bytes]:
    """The outputs under the names that they have as subjects: ``stdout``, ``stderr`` and ``out/PATH``."""
    files = {OUT_PREFIX + path: content for path, content in outcome.files.items()}
    return {STDOUT: outcome.stdout, STDERR: outcome.stderr, **files}


def make_statement(
    *,
    job: Job,
    outcome: Outcome,
    engine: Engine,
    isolation: str,
    guards: Sequence[str] = (),
    node: PeerId,
    client: PeerId,
    nonce: bytes,
    started: datetime.datetime,
    finished: datetime.datetime,
    job_digest: Digest | None = None,
) -> Statement:
    """What `node` says about `outcome`. `started` and `finished` are aware datetimes.

    What a run used and no receipt can hold is not measured, or the most that one holds; a trap that has no name there
    is ``other``; a clock that was set back while the job ran has it end when it began. `job_digest` is that of `job`,
    for whoever has computed it already. Raises :exc:`ReceiptRefused` for outputs that no receipt may name.
    """
    contents = outputs_of(outcome)
    _check_names([*contents])
    outputs = {name: sha256(content) for name, content in contents.items()}
    usage = outcome.usage
    return Statement(
        subject=tuple(
            Subject(name=name, digest=DigestSet(sha256=digest.removeprefix("sha256:")))
            for name, digest in sorted(outputs.items())
        ),
        predicate=Predicate(
            client=client,
            engine=EngineClaim(name=engine.name, version=engine.version, configuration=dict(engine.configuration)),
            exit_code=outcome.exit_code,
            finished_at=_timestamp(max(started, finished)),
            guards=tuple(guards),
            input_digest=input_digest(job),
            isolation=outcome.isolation or isolation,
            job_digest=job_digest or job.digest(),
            limits=_limits(job),
            module_digest=job.manifest.module_hash,
            node=node,
            nonce=nonce.hex(),
            reproducible=outcome.reproducible and outcome.verdict.repeatable,
            result_digest=result_digest(outcome.verdict, outcome.exit_code, outputs),
            started_at=_timestamp(started),
            stdin_digest=job.stdin,
            trap=_trap(outcome.trap),
            usage=UsageClaim(
                cpu_microseconds=_microseconds(usage.cpu_seconds),
                fuel=_counted(usage.fuel),
                peak_memory_bytes=_counted(usage.peak_memory_bytes),
                peak_process_bytes=_counted(usage.peak_process_bytes),
                wall_microseconds=_microseconds(usage.wall_seconds),
            ),
            verdict=outcome.verdict,
        ),
    )


def sign_receipt(statement: Statement, signer: Signer, node: PeerId) -> bytes:
    """The receipt: the canonical envelope, signed.

    Nothing is signed that :func:`verify_receipt` would refuse: raises :exc:`ReceiptRefused` then, and
    :exc:`~plasm.ports.SignerError`.
    """
    try:
        payload = _encode_statement(statement)
    except (TypeError, ValueError):
        raise ReceiptRefused("the statement cannot be written as JSON in UTF-8") from None
    if _decode_statement(payload) != statement:
        raise ReceiptRefused("the statement reads otherwise than it was made")
    _check_consistency(statement, node)
    receipt = sign_payload(payload, signer, node)
    _check_size(receipt)
    return receipt


def sign_payload(payload: bytes, signer: Signer, keyid: PeerId) -> bytes:
    """An in-toto statement in its canonical envelope, signed. Raises :exc:`~plasm.ports.SignerError`."""
    signature = signer.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return _encode_envelope(
        _Envelope(
            payload=base64.b64encode(payload).decode(),
            payloadType=PAYLOAD_TYPE,
            signatures=(_Signature(keyid=keyid, sig=base64.b64encode(signature).decode()),),
        )
    )


def claimed_node(envelope: bytes) -> PeerId:
    """The node that a receipt says it is from: to be shown, never believed. Raises :exc:`ReceiptRefused`."""
    return PeerId(_open_envelope(envelope).signatures[0].keyid)


def verify_receipt(envelope: bytes, node: PeerId) -> Statement:
    """The statement, proven to be signed by `node`, whose key comes from the caller. Raises :exc:`ReceiptRefused`."""
    opened = _open_envelope(envelope)
    signature = opened.signatures[0]
    if signature.keyid != node:
        raise ReceiptRefused(f"signed by {one_line(signature.keyid)}, expected {node}")
    payload, sig = _strict_base64(opened.payload), _strict_base64(signature.sig)
    try:
        if has_small_order(sig[:32]):
            # A reader built on libsodium refuses it, so none takes it; no signer makes one but on purpose.
            raise InvalidSignature
        _key_of(node).verify(sig, pre_authentication_encoding(PAYLOAD_TYPE, payload))
    except InvalidSignature:
        raise ReceiptRefused(f"the signature is not one of {node} over this statement") from None
    except InvalidIdentity:
        raise ReceiptRefused(f"{one_line(node)} is not the peer ID of an Ed25519 key") from None
    return _read_statement(payload, node)


def _read_statement(payload: bytes, node: PeerId) -> Statement:
    """The one reader of statements. Raises :exc:`ReceiptRefused`."""
    statement = _decode_statement(payload)
    if _encode_statement(statement) != payload:
        raise ReceiptRefused("the statement is not in canonical form")
    _check_consistency(statement, node)
    return statement


def _decode_statement(payload: bytes) -> Statement:
    try:
        statement = _statements.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ReceiptRefused(f"the statement is not a receipt's: {one_line(str(error))}") from None
    _check_shapes(statement)
    return statement


def _check_shapes(statement: Statement) -> None:
    """What the types of a statement leave open."""
    predicate = statement.predicate
    shaped = (
        *(subject.digest.sha256 for subject in statement.subject),
        predicate.input_digest,
        predicate.job_digest,
        predicate.module_digest,
        predicate.result_digest,
        predicate.stdin_digest,
        predicate.nonce,
        predicate.started_at,
        predicate.finished_at,
        "",
    )
    if not _SHAPED.fullmatch("\n".join(shaped)):
        raise ReceiptRefused("the statement is not a receipt's: a digest, the nonce or a time is not written as such")
    names = "".join(predicate.engine.configuration)
    if not (names.isascii() and names.isprintable()):
        # UTF-8 would sort others differently than RFC 8785 does, which counts in UTF-16.
        raise ReceiptRefused("the statement is not a receipt's: the engine has settings that are not named in ASCII")


@lru_cache(maxsize=256)
def _key_of(node: PeerId) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(peer_key(node))


def hold_against(
    statement: Statement,
    *,
    job: Job | None = None,
    job_digest: Digest | None = None,
    runtime: str | None = None,
    nonce: bytes | None = None,
    client: PeerId | None = None,
    module: Digest | None = None,
    stdin: Digest | None = None,
    outputs: Mapping[str, bytes] | None = None,
    stdout: bytes | None = None,
    stderr: bytes | None = None,
) -> None:
    """Refuse a proven statement that is about something else than what is given. Raises :exc:`ReceiptRefused`.

    `job_digest` is that of `job`, for whoever has computed it already. `runtime` is the one that was asked for by name.
    What the job settles is not taken from the node: whether its outcome can be repeated, and which limits it has.
    """
    predicate = statement.predicate
    checks: list[tuple[str, object, object]] = []
    if job is not None:
        checks.append(("job", predicate.job_digest, job_digest or job.digest()))
        checks.append(("module", predicate.module_digest, job.manifest.module_hash))
        checks.append(("input", predicate.input_digest, input_digest(job)))
        checks.append(("standard input", predicate.stdin_digest, job.stdin))
        checks.append(("limits", predicate.limits, _limits(job)))
    if runtime is not None:
        checks.append(("runtime", predicate.engine.name, runtime))
    if nonce is not None:
        checks.append(("nonce", predicate.nonce, nonce.hex()))
    if client is not None:
        checks.append(("client", predicate.client, client))
    if module is not None:
        checks.append(("module", predicate.module_digest, module))
    if stdin is not None:
        checks.append(("standard input", predicate.stdin_digest, stdin))
    if outputs is not None:
        checks.append(("set of outputs", [subject.name for subject in statement.subject], sorted(outputs)))
        for name, content in outputs.items():
            checks.append((name, statement.digests.get(name), sha256(content)))
    if stdout is not None:
        checks.append(("stdout", statement.output("stdout"), sha256(stdout)))
    if stderr is not None:
        checks.append(("stderr", statement.output("stderr"), sha256(stderr)))
    for what, said, expected in checks:
        if said != expected:
            raise ReceiptRefused(f"the receipt is for another {what}")
    if job is not None:
        _check_what_the_job_settles(predicate, job)


def _check_what_the_job_settles(predicate: Predicate, job: Job) -> None:
    if not predicate.reproducible and predicate.verdict.repeatable and not job.manifest.capabilities:
        raise ReceiptRefused("the node calls an outcome not reproducible that any other run of this job must repeat")
    if predicate.verdict is Verdict.OUT_OF_FUEL and job.manifest.fuel is None:
        raise ReceiptRefused("the node says that the job used up its fuel, of which it had no limit")


def _limits(job: Job) -> LimitsClaim:
    manifest = job.manifest
    return LimitsClaim(
        cpu_cores=manifest.cpu_cores,
        file_bytes=manifest.file_bytes,
        fuel=manifest.fuel,
        host_calls=manifest.host_calls,
        memory_mb=manifest.memory_mb,
        output_bytes=manifest.output_bytes,
        timeout_seconds=manifest.timeout_seconds,
    )


def _check_consistency(statement: Statement, node: PeerId) -> None:
    predicate = statement.predicate
    names = [subject.name for subject in statement.subject]
    if names != sorted(names):
        raise ReceiptRefused("the outputs are not in order")
    _check_names(names)
    if predicate.node != node:
        raise ReceiptRefused("the statement names another node than the one that signed it")
    try:
        peer_key(predicate.client)
    except InvalidIdentity:
        raise ReceiptRefused("the client is not the peer ID of an Ed25519 key") from None
    outputs = statement.digests
    if predicate.result_digest != result_digest(predicate.verdict, predicate.exit_code, outputs):
        raise ReceiptRefused("the result digest is not that of verdict, exit code and outputs")
    if (predicate.exit_code is not None) != (predicate.verdict is Verdict.EXITED):
        raise ReceiptRefused("an exit code goes with the verdict exited and with no other")
    if predicate.trap is not None and predicate.verdict is not Verdict.TRAPPED:
        raise ReceiptRefused("a trap goes with the verdict trapped and with no other")
    if predicate.reproducible and not predicate.verdict.repeatable:
        raise ReceiptRefused(f"the verdict {predicate.verdict.value} is not one that another run must repeat")
    _check_times(predicate.started_at, predicate.finished_at)


def _check_names(names: Sequence[str]) -> None:
    try:
        check_names(names)
    except InvalidPath as error:
        raise ReceiptRefused(f"invalid name of an output: {error}") from None


def _check_times(started: str, finished: str) -> None:
    try:
        for moment in (started, finished):
            datetime.datetime.fromisoformat(moment)
    except ValueError:
        raise ReceiptRefused("a time is one that no clock shows") from None
    if finished < started:
        raise ReceiptRefused("the job ended before it began")


def _open_envelope(envelope: bytes) -> _Envelope:
    _check_size(envelope)
    try:
        opened = _envelopes.decode(envelope)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ReceiptRefused(f"not a receipt: {one_line(str(error))}") from None
    if opened.payloadType != PAYLOAD_TYPE:
        raise ReceiptRefused("not a receipt: the payload is of another type")
    if _encode_envelope(opened) != envelope:
        raise ReceiptRefused("the envelope is not in canonical form")
    return opened


def _check_size(envelope: bytes) -> None:
    if len(envelope) > MAX_RECEIPT_BYTES:
        raise ReceiptRefused(f"a receipt of {len(envelope)} bytes is over the cap of {MAX_RECEIPT_BYTES}")


def _strict_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ReceiptRefused("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise ReceiptRefused("base64 that is not in canonical form")
    return data


def _encode_envelope(envelope: _Envelope) -> bytes:
    return canonical_json(envelope)


def _encode_statement(statement: Statement) -> bytes:
    return canonical_json(statement)


def _timestamp(moment: datetime.datetime) -> str:
    if moment.tzinfo is not datetime.UTC:
        moment = moment.astimezone(datetime.UTC)
    return moment.isoformat(timespec="microseconds")[:-6] + "Z"


def _trap(name: str | None) -> Any:
    return name if name is None or name in TRAPS else "other"


def _counted(count: int | None) -> int | None:
    return count if count is None or 0 <= count <= MAX_COUNT else None


def _microseconds(seconds: float) -> int:
    # Not a number compares false, and is nothing.
    return round(min(seconds * 1e6, MAX_COUNT)) if seconds > 0 else 0
