"""The messages of ``/phase/job/1``: MessagePack maps with a ``type``, one to a frame (``specs/job-protocol.md``).

Every field has a bound that msgspec checks while it decodes; unknown members are ignored, so that a later minor
revision may add some. What msgspec takes and the text does not, a member that stands twice in a map, is looked for
afterwards: :func:`decode_request` and :func:`decode_reply` are the only ways in.
"""

from __future__ import annotations

from typing import Annotated

import anyio
import msgspec

from plasm.errors import one_line
from plasm.jobs.framing import MAX_CHUNK, FrameCut, FrameReader, encode_frame
from plasm.jobs.manifest import MAX_INPUT_BYTES, MAX_MODULE_BYTES, NONCE_BYTES, DigestText, Job, sha256
from plasm.jobs.outputs import Output
from plasm.jobs.receipt import MAX_OUT_FILES, MAX_RECEIPT_BYTES
from plasm.ports import Stream

PROTOCOL = "/phase/job/1"
VERSION = 1
INLINE_BYTES = 64 * 1024
"""Input and output up to this size travel inside their message."""

JobId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
Name = Annotated[str, msgspec.Meta(max_length=64)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Line = Annotated[str, msgspec.Meta(max_length=1024)]
Inline = Annotated[bytes, msgspec.Meta(max_length=INLINE_BYTES)]

REASONS = (
    "InsufficientResources",
    "ArchMismatch",
    "RuntimeNotSupported",
    "QueueFull",
    "InvalidRequest",
    "NotAllowed",
    "QuotaExceeded",
    "ShuttingDown",
    "ModuleNotFound",
    "ModuleNotPrepared",
)
"""Why an offer is rejected. The first five are the ones that users of Phase know."""
FAILURES = (
    "UnknownJob",
    "NotFinished",
    "Cancelled",
    "NodeFailed",
    "ModuleNotPrepared",
    "BadTransfer",
)
"""Why a request could not be met."""
BLAMELESS = frozenset({"ModuleNotPrepared"})
"""Failures that are no fault of the node that any other could confirm: it is not remembered for them."""


class ProtocolViolation(Exception):
    """The other side said something that has no place here."""


class UnsupportedVersion(Exception):
    """The request is of a version that is not spoken here."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower, omit_defaults=True):
    """Anything that travels in a frame."""


class Request(Message, frozen=True, kw_only=True, omit_defaults=False):
    """What a client opens an exchange with. The version stands in each one."""

    version: int = msgspec.field(default=VERSION)

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError("unsupported version")


class Offer(Request, frozen=True, kw_only=True):
    """Asks the node to run `job`. Repeating it with the same nonce asks for the same job again."""

    job: Job
    digest: DigestText
    """The job digest as the client computed it: a difference in encoding shows here and not in the receipt."""
    nonce: Nonce
    module_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_MODULE_BYTES)]
    """0 where the client has the module only by its digest: then the node has it, or does not take the job."""
    input_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_INPUT_BYTES)] = 0
    input: Inline | None = None
    """The input itself where it is small."""
    arch: Name | None = None
    runtime: Name | None = None

    @property
    def by_digest(self) -> bool:
        """Whether the client does not have the module; that of nothing at all is not worth having."""
        return not self.module_size and self.job.manifest.module_hash != sha256(b"")


class Fetch(Request, frozen=True, kw_only=True):
    """Asks for the result of a job that this client had accepted, waiting for it if `wait`."""

    job_id: JobId
    wait: bool = True


class Cancel(Request, frozen=True, kw_only=True):
    """Stops a job of this client. Answered by :class:`Cancelled` or :class:`Failed`."""

    job_id: JobId


class Describe(Request, frozen=True, kw_only=True):
    """Asks what the node offers. Answered by :class:`Description`."""


class Piece(Message, frozen=True, kw_only=True):
    """Bulk bytes, in order: of the module, then of the input; of the outputs."""

    data: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_CHUNK)]


class Accepted(Message, frozen=True, kw_only=True):
    """The offer is in the node's journal. The client sends what `needs` names, in that order."""

    job_id: JobId
    needs: Annotated[tuple[Name, ...], msgspec.Meta(max_length=2)] = ()
    """Of ``module`` and ``input``."""
    estimated_start_seconds: Whole = 0
    keep_seconds: Whole = 0
    """For how long after its end the node promises to keep the result."""


class Rejected(Message, frozen=True, kw_only=True):
    """The offer is not in the journal, and nothing of it is kept."""

    reason: Name
    detail: Line = ""


class Progress(Message, frozen=True, kw_only=True):
    """``queued`` (behind `ahead` others), ``compiling`` or ``running``."""

    state: Name
    ahead: Whole = 0


class Result(Message, frozen=True, kw_only=True):
    """The end of a job: receipt and outputs, which stand in `data`, or follow as pieces, one after another."""

    job_id: JobId
    receipt: Annotated[bytes, msgspec.Meta(max_length=MAX_RECEIPT_BYTES)]
    outputs: Annotated[tuple[Output, ...], msgspec.Meta(max_length=2 + MAX_OUT_FILES)] = ()
    data: Inline | None = None
    detail: Line = ""


class Cancelled(Message, frozen=True, kw_only=True):
    """The job was stopped and has no result."""

    job_id: JobId


class Failed(Message, frozen=True, kw_only=True):
    """The request could not be met; `reason` is one of :data:`FAILURES`."""

    reason: Name
    detail: Line = ""


class Unsupported(Message, frozen=True, kw_only=True, omit_defaults=False):
    """The request's version is not spoken; these are."""

    versions: Annotated[tuple[int, ...], msgspec.Meta(max_length=32)] = (VERSION,)


class Description(Message, frozen=True, kw_only=True):
    """What the node offers now."""

    software: Name
    arch: Name
    runtimes: Annotated[tuple[Name, ...], msgspec.Meta(max_length=32)]
    slots: Annotated[int, msgspec.Meta(ge=0, le=65536)]
    free: Annotated[int, msgspec.Meta(ge=0, le=65536)]
    queued: Whole
    memory_mb: Whole
    max_timeout_seconds: Whole


AnyRequest = Offer | Fetch | Cancel | Describe
AnyReply = Accepted | Rejected | Progress | Result | Cancelled | Failed | Unsupported | Description | Piece

_requests: msgspec.msgpack.Decoder[AnyRequest | Piece] = msgspec.msgpack.Decoder(AnyRequest | Piece)
_replies: msgspec.msgpack.Decoder[AnyReply] = msgspec.msgpack.Decoder(AnyReply)
_maps: msgspec.msgpack.Decoder[dict[str, msgspec.Raw]] = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_lists_of_maps: msgspec.msgpack.Decoder[list[msgspec.Raw]] = msgspec.msgpack.Decoder(list[msgspec.Raw])
_encoder = msgspec.msgpack.Encoder()


class _Versioned(msgspec.Struct):
    version: int = VERSION


def encode(message: Message) -> bytes:
    """The message as one frame."""
    return encode_frame(_encoder.encode(message))


def decode_request(body: bytes) -> AnyRequest | Piece:
    """Raises :exc:`UnsupportedVersion` or :exc:`ProtocolViolation`."""
    try:
        request = _requests.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if _version_of(body) != VERSION:
            raise UnsupportedVersion from None
        raise ProtocolViolation(f"not a request: {_plain(error)}") from None
    _refuse_members_that_stand_twice(request, body)
    return request


def decode_reply(body: bytes) -> AnyReply:
    """Raises :exc:`ProtocolViolation`."""
    try:
        reply = _replies.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolViolation(f"not a reply: {_plain(error)}") from None
    _refuse_members_that_stand_twice(reply, body)
    return reply


def _refuse_members_that_stand_twice(message: Message, body: bytes) -> None:
    """Looks into each map that the text describes, and into none that it does not know."""
    if not isinstance(message, Piece) and _encoder.encode(message) == body:
        # What is written here holds each member once, and this is how nearly all that arrives was written.
        return
    try:
        members = _members(body)
        if isinstance(message, Offer):
            job = _members(members["job"])
            _members(job["manifest"])
            if message.job.env:
                _members(job["env"])
            if message.job.inputs:
                _members_of_each(job["inputs"])
        elif isinstance(message, Result) and message.outputs:
            _members_of_each(members["outputs"])
    except msgspec.MsgspecError as error:
        raise ProtocolViolation(f"not a message: {_plain(error)}") from None


def _members_of_each(packed: msgspec.Raw) -> None:
    for each in _lists_of_maps.decode(packed):
        _members(each)


def _members(packed: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    members = _maps.decode(packed)
    if len(members) != _number_of_members(memoryview(packed)):
        raise ProtocolViolation("a member stands twice in a map")
    return members


def _number_of_members(packed: memoryview) -> int:
    """How many members a map says that it has (MessagePack: fixmap, map 16, map 32)."""
    match packed[0]:
        case 0xDE:
            return int.from_bytes(packed[1:3], "big")
        case 0xDF:
            return int.from_bytes(packed[1:5], "big")
        case short:
            return short & 0x0F


def _version_of(body: bytes) -> int:
    try:
        version = msgspec.msgpack.decode(body, type=_Versioned).version
        _members(body)
    except (msgspec.MsgspecError, ValueError, RecursionError, ProtocolViolation):
        return VERSION
    return version


def _plain(error: BaseException) -> str:
    return one_line(str(error))[:200]


async def receive_reply(reader: FrameReader) -> AnyReply:
    """The next reply. Raises :exc:`ProtocolViolation` and :exc:`~plasm.jobs.framing.FrameError`."""
    body = await reader.receive()
    if body is None:
        raise FrameCut("the node closed the stream instead of answering")
    return decode_reply(body)


async def send_pieces(stream: Stream, data: bytes, piece_seconds: float | None = None) -> None:
    """All of `data` as pieces. Raises :exc:`TimeoutError` where one of them is not taken within `piece_seconds`."""
    view = memoryview(data)
    for start in range(0, len(data), MAX_CHUNK):
        with anyio.fail_after(piece_seconds):
            await stream.send(encode(Piece(data=bytes(view[start : start + MAX_CHUNK]))))
