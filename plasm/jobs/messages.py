"""The messages of ``/phase/job/1``: MessagePack maps with a ``type``, one to a frame (``specs/job-protocol.md``).

Every field has a bound that msgspec checks while it decodes; unknown members are ignored, so that a later minor
revision may add some.
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

    data: Annotated[bytes, msgspec.Meta(max_length=MAX_CHUNK)]


class Accepted(Message, frozen=True, kw_only=True):
    """The offer is in the node's journal. The client sends what `needs` names, in that order."""

    job_id: JobId
    needs: Annotated[tuple[Name, ...], msgspec.Meta(max_length=2)] = ()
    """Of ``module`` and ``input``."""
    estimated_start_seconds: Annotated[int, msgspec.Meta(ge=0)] = 0
    keep_seconds: Annotated[int, msgspec.Meta(ge=0)] = 0
    """For how long after its end the node promises to keep the result."""


class Rejected(Message, frozen=True, kw_only=True):
    """The offer is not in the journal, and nothing of it is kept."""

    reason: Name
    detail: Line = ""


class Progress(Message, frozen=True, kw_only=True):
    """``queued`` (behind `ahead` others), ``compiling`` or ``running``."""

    state: Name
    ahead: Annotated[int, msgspec.Meta(ge=0)] = 0


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
    """The request could not be met.

    ``UnknownJob``, ``NotFinished``, ``Cancelled``, ``NodeFailed``, ``BadTransfer`` or ``ModuleNotPrepared``.
    """

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
    queued: Annotated[int, msgspec.Meta(ge=0)]
    memory_mb: Annotated[int, msgspec.Meta(ge=0)]
    max_timeout_seconds: Annotated[int, msgspec.Meta(ge=0)]


AnyRequest = Offer | Fetch | Cancel | Describe
AnyReply = Accepted | Rejected | Progress | Result | Cancelled | Failed | Unsupported | Description | Piece

_requests: msgspec.msgpack.Decoder[AnyRequest | Piece] = msgspec.msgpack.Decoder(AnyRequest | Piece)
_replies: msgspec.msgpack.Decoder[AnyReply] = msgspec.msgpack.Decoder(AnyReply)
_encoder = msgspec.msgpack.Encoder()


class _Versioned(msgspec.Struct):
    version: int = VERSION


def encode(message: Message) -> bytes:
    """The message as one frame."""
    return encode_frame(_encoder.encode(message))


def decode_request(body: bytes) -> AnyRequest | Piece:
    """Raises :exc:`UnsupportedVersion` or :exc:`ProtocolViolation`."""
    try:
        return _requests.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if _version_of(body) != VERSION:
            raise UnsupportedVersion from None
        raise ProtocolViolation(f"not a request: {_plain(error)}") from None


def decode_reply(body: bytes) -> AnyReply:
    """Raises :exc:`ProtocolViolation`."""
    try:
        return _replies.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolViolation(f"not a reply: {_plain(error)}") from None


def _version_of(body: bytes) -> int:
    try:
        return msgspec.msgpack.decode(body, type=_Versioned).version
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return VERSION


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
