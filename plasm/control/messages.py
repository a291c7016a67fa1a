"""The messages of the control socket: MessagePack maps with a ``type``, framed as the job protocol's are.

Both ends belong to one user; the socket is 0600 in a folder of 0700. Sizes are bounded all the same.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from plasm.errors import one_line
from plasm.jobs.conversation import Event
from plasm.jobs.framing import MAX_CHUNK, FrameReader, encode_frame
from plasm.jobs.manifest import MAX_INPUT_BYTES, MAX_MODULE_BYTES, Job
from plasm.jobs.messages import Description, ProtocolViolation
from plasm.jobs.outputs import Output
from plasm.jobservice import Hosted, Sent

T = TypeVar("T")

VERSION = 1


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True, omit_defaults=True):
    """Anything that travels over the control socket."""


class Submit(Message, frozen=True, kw_only=True):
    """Have the job run by another node; the module and the input follow as pieces."""

    version: int = VERSION
    job: Job
    name: str
    module_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_MODULE_BYTES)]
    input_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_INPUT_BYTES)]
    nonce: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    arch: str | None = None
    runtime: str | None = None
    wait_seconds: float
    peers: tuple[str, ...] = ()
    look_seconds: float
    detach: bool = False


class Execute(Message, frozen=True, kw_only=True):
    """Run the job on this node itself; the module and the input follow as pieces."""

    version: int = VERSION
    job: Job
    module_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_MODULE_BYTES)]
    input_size: Annotated[int, msgspec.Meta(ge=0, le=MAX_INPUT_BYTES)]
    nonce: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    runtime: str | None = None


class AskResult(Message, frozen=True, kw_only=True):
    """The result of a job that was submitted from this home."""

    version: int = VERSION
    job_id: str
    wait: bool = True
    peers: tuple[str, ...] = ()


class AskJobs(Message, frozen=True, kw_only=True):
    """What was submitted from this home, and what this node took from others."""

    version: int = VERSION


class AskCancel(Message, frozen=True, kw_only=True):
    """Stop a job, submitted from here or taken here."""

    version: int = VERSION
    job_id: str
    peers: tuple[str, ...] = ()


class AskNodes(Message, frozen=True, kw_only=True):
    """Nodes as they are found, until the asker closes."""

    version: int = VERSION
    peers: tuple[str, ...] = ()
    arch: str | None = None


class Piece(Message, frozen=True, kw_only=True):
    """Bulk bytes, in order."""

    data: Annotated[bytes, msgspec.Meta(max_length=MAX_CHUNK)]


class Happened(Message, frozen=True, kw_only=True):
    """Something on the way of a job."""

    event: Event


class Finished(Message, frozen=True, kw_only=True):
    """A verified result; the outputs follow as pieces, one after another."""

    job_id: str
    node: str
    receipt: bytes
    outputs: tuple[Output, ...]
    detail: str = ""


class Left(Message, frozen=True, kw_only=True):
    """A job was accepted and is left to run."""

    job_id: str
    node: str
    keep_seconds: int


class Jobs(Message, frozen=True, kw_only=True):
    """The answer to :class:`AskJobs`; newest first."""

    sent: tuple[Sent, ...]
    hosted: tuple[Hosted, ...]


class Stopped(Message, frozen=True, kw_only=True):
    """The answer to :class:`AskCancel`."""

    stopped: bool


class Seen(Message, frozen=True, kw_only=True):
    """A node that was found."""

    peer: str
    addresses: tuple[str, ...]
    source: str
    description: Description | None = None
    latency_seconds: float | None = None
    problem: str = ""


class Problem(Message, frozen=True, kw_only=True):
    """The request failed: `kind` is the exception's name, `message` and `mend` are lines for people.

    The others are what an exception of that kind has beside these.
    """

    kind: str
    message: str
    mend: str = ""
    reason: str = ""
    failures: tuple[tuple[str, str], ...] = ()
    silent: bool = False


Request = Submit | Execute | AskResult | AskJobs | AskCancel | AskNodes
Reply = Happened | Finished | Left | Jobs | Stopped | Seen | Problem | Piece

_requests: msgspec.msgpack.Decoder[Request | Piece] = msgspec.msgpack.Decoder(Request | Piece)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """The message as one frame."""
    return encode_frame(_encoder.encode(message))


async def receive_request(reader: FrameReader) -> Request | Piece | None:
    """The next request, ``None`` at the end. Raises :exc:`~plasm.jobs.messages.ProtocolViolation`."""
    body = await reader.receive()
    return None if body is None else _decoded(_requests, body)


async def receive_reply(reader: FrameReader) -> Reply:
    """The next reply. Raises :exc:`~plasm.jobs.messages.ProtocolViolation`."""
    body = await reader.receive()
    if body is None:
        raise ProtocolViolation("the node closed its control socket")
    return _decoded(_replies, body)


def _decoded(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolViolation(f"not a message of the control socket: {one_line(str(error))[:200]}") from None
