"""The client's side of ``/phase/job/1`` on one stream: offer, transfer, result, and the proof that it is ours."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import anyio
import msgspec

from plasm.errors import PlasmError, one_line
from plasm.jobs.framing import FrameCut, FrameError, FrameReader
from plasm.jobs.manifest import NONCE_BYTES, Job, job_id, join_input
from plasm.jobs.messages import (
    BLAMELESS,
    INLINE_BYTES,
    Accepted,
    AnyReply,
    AnyRequest,
    Cancel,
    Cancelled,
    Describe,
    Description,
    Failed,
    Fetch,
    Offer,
    Piece,
    Progress,
    ProtocolViolation,
    Rejected,
    Result,
    Unsupported,
    decode_reply,
    encode,
    receive_reply,
    send_pieces,
)
from plasm.jobs.outputs import STDERR, STDOUT, cut, files_of
from plasm.jobs.patience import Patience
from plasm.jobs.receipt import ReceiptRefused, Statement, hold_against, verify_receipt
from plasm.jobs.rejections import MENDS
from plasm.ports import Digest, PeerId, Stream, StreamBroken

STATES = ("transferring", "queued", "compiling", "running")
TRANSFER_SECONDS = 120


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a user may want to see while a job is on its way.

    `kind`: ``looking``, ``found``, ``sending``, ``accepted``, ``queued``, ``compiling``, ``running``, ``reconnecting``,
    ``node_failed``, ``verified``.
    """

    kind: str
    node: str = ""
    detail: str = ""
    ahead: int = 0


Report = Callable[[Event], None]


class AttemptFailed(PlasmError):
    """This node did not do the job; another may. The message says why, without the node's name.

    `reason` is the job protocol's word where the node gave one, as it said it: for telling reasons apart, not to be
    shown.
    """

    def __init__(self, message: str, mend: str = "", *, reason: str = "") -> None:
        super().__init__(message, mend)
        self.reason = reason

    @property
    def blames_node(self) -> bool:
        """Whether it stands in what is remembered of the node."""
        return self.reason not in BLAMELESS


class JobCancelled(PlasmError):
    """The job was cancelled, and no other node is asked."""


class NotFinished(AttemptFailed):
    """The job has not ended, and the result was asked for without waiting."""

    @property
    def state(self) -> str:
        """Where the job is: one of :data:`STATES`, as the node says it."""
        return self.message.partition(": ")[2]


class NodeSilent(AttemptFailed):
    """The node was waited for and given up."""


class ConnectionLost(NodeSilent):
    """The stream broke or fell silent; the job may be running all the same."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job with what a node needs to run it, under a nonce that makes it one of its kind."""

    job: Job
    module: bytes = field(repr=False)
    stdin: bytes = field(default=b"", repr=False)
    inputs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Content of the job's input files by their paths."""
    nonce: bytes = field(default_factory=lambda: secrets.token_bytes(NONCE_BYTES))
    arch: str | None = None
    runtime: str | None = None
    wait_seconds: float = 600
    """For how long after the offer the job may wait for its turn, compiling included."""

    @property
    def input_size(self) -> int:
        """Bytes of :attr:`input`, which is put together each time that it is asked for."""
        return len(self.stdin) + self.job.files_size

    @property
    def input(self) -> bytes:
        """Standard input and files as they travel."""
        return join_input(self.job, self.stdin, self.inputs)

    @property
    def patience_seconds(self) -> float:
        """For how long one node gets the benefit of its heartbeats."""
        return self.wait_seconds + self.job.manifest.timeout_seconds + TRANSFER_SECONDS


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a result is held against: nothing in it comes from the result."""

    job_id: str
    node: PeerId
    client: PeerId
    nonce: bytes
    job: Job
    digest: Digest
    """Of the job."""
    runtime: str | None = None
    """The one that was asked for by name."""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """A verified result."""

    job_id: str
    node: PeerId
    statement: Statement
    receipt: bytes = field(repr=False)
    outputs: Mapping[str, bytes] = field(repr=False)
    """By their names: ``stdout``, ``stderr``, ``out/PATH``."""
    detail: str = ""

    @property
    def stdout(self) -> bytes:
        return self.outputs[STDOUT]

    @property
    def stderr(self) -> bytes:
        return self.outputs[STDERR]

    @property
    def files(self) -> dict[str, bytes]:
        """What the program left in ``/out``, by path."""
        return files_of(self.outputs)


class Conversation:
    """A stream to a node on which one thing after another is asked."""

    def __init__(self, stream: Stream, patience: Patience | None = None) -> None:
        self.stream = stream
        self.answers = 0
        """How many came from the node."""
        self.finished = False
        self._reader = FrameReader(stream)
        self._patience = patience or Patience()

    @property
    def node(self) -> PeerId:
        """Who is at the other end, as the transport proved it."""
        return self.stream.peer

    async def offer(self, submission: Submission, expected: Expected, report: Report) -> Accepted:
        """Offer the job and send what the node needs of it. Raises :exc:`AttemptFailed`."""
        data = submission.input
        small = len(data) <= INLINE_BYTES
        with _attempt():
            accepted = await self._ask(
                Offer(
                    job=submission.job,
                    digest=expected.digest,
                    nonce=submission.nonce,
                    module_size=len(submission.module),
                    input_size=len(data),
                    input=data if small else None,
                    arch=submission.arch,
                    runtime=submission.runtime,
                ),
                self._patience.first_answer_seconds,
            )
            if isinstance(accepted, Rejected):
                line = f"rejected: {one_line(accepted.reason)} ({one_line(accepted.detail)})"
                raise AttemptFailed(line, MENDS.get(accepted.reason, ""), reason=accepted.reason)
            if not isinstance(accepted, Accepted) or accepted.job_id != expected.job_id:
                raise _unexpected(accepted)
            report(Event(kind="accepted", node=self.node, detail=accepted.job_id))
            if accepted.needs:
                with _transfer("sending the module and the input"):
                    if "module" in accepted.needs:
                        await send_pieces(self.stream, submission.module)
                    if "input" in accepted.needs:
                        await send_pieces(self.stream, data)
        return accepted

    async def settled(self) -> None:
        """Wait until the node says that the job is queued or ended: all of the transfer has arrived."""
        with _attempt():
            await self._receive()

    def finish(self) -> None:
        """Nothing more is asked on this stream: what still comes on it is for nobody."""
        self.finished = True

    async def fetch(self, identity: str, *, wait: bool) -> None:
        """Ask for the result of a job; :meth:`result` receives it."""
        with _attempt(), _deadline(self._patience.answer_seconds):
            await self.stream.send(encode(Fetch(job_id=identity, wait=wait)))

    async def result(self, expected: Expected, report: Report) -> Delivered:
        """Wait for the result and verify it. Raises :exc:`AttemptFailed`; what is refused is not returned."""
        with _attempt():
            while isinstance(reply := await self._receive(), Progress):
                # A state that is not one of these is a node's own word, and no event of ours.
                state = reply.state if reply.state in STATES else "running"
                report(Event(kind=state, node=self.node, ahead=reply.ahead))
            if not isinstance(reply, Result) or reply.job_id != expected.job_id:
                raise _unexpected(reply)
            outputs = await self._outputs(reply, expected.job.manifest.output_bytes)
            try:
                statement = verify_receipt(reply.receipt, expected.node)
                hold_against(
                    statement,
                    job=expected.job,
                    job_digest=expected.digest,
                    runtime=expected.runtime,
                    nonce=expected.nonce,
                    client=expected.client,
                    outputs=outputs,
                )
            except ReceiptRefused as error:
                raise AttemptFailed(f"receipt refused: {error}") from None
        report(Event(kind="verified", node=self.node))
        return Delivered(
            job_id=expected.job_id,
            node=expected.node,
            statement=statement,
            receipt=reply.receipt,
            outputs=outputs,
            detail=one_line(reply.detail),
        )

    async def cancel(self, identity: str) -> bool:
        """Whether the node stopped the job. Raises :exc:`AttemptFailed`."""
        with _attempt():
            reply = await self._ask_anything(Cancel(job_id=identity), self._patience.first_answer_seconds)
            if isinstance(reply, Failed):
                if reply.reason == "UnknownJob":
                    return False
                raise _failure(reply)
            if not isinstance(reply, Cancelled) or reply.job_id != identity:
                raise _unexpected(reply)
        return True

    async def describe(self) -> tuple[Description, float]:
        """What the node offers, and the seconds that the answer took. Raises :exc:`AttemptFailed`."""
        with _attempt():
            asked = anyio.current_time()
            reply = await self._ask(Describe(), self._patience.description_seconds)
            if not isinstance(reply, Description):
                raise _unexpected(reply)
        return reply, anyio.current_time() - asked

    async def _outputs(self, reply: Result, most: int) -> dict[str, bytes]:
        size = sum(output.size for output in reply.outputs)
        if size > most:
            raise AttemptFailed("the node claims more output than the job may write")
        data = reply.data
        if data is None:
            with _transfer("receiving the output"):
                data = await self._pieces(size)
        try:
            return cut(reply.outputs, data)
        except ValueError as error:
            raise AttemptFailed(str(error)) from None

    async def _pieces(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            piece = await self._receive()
            if not isinstance(piece, Piece) or not 0 < len(piece.data) <= size - len(received):
                raise _unexpected(piece)
            received += piece.data
        return bytes(received)

    async def _ask(self, message: AnyRequest, seconds: float) -> AnyReply:
        return _sound(await self._ask_anything(message, seconds))

    async def _ask_anything(self, message: AnyRequest, seconds: float) -> AnyReply:
        # One deadline for both: it is part of what each job costs.
        with _deadline(seconds, first=True):
            await self.stream.send(encode(message))
            return self._spoken(await receive_reply(self._reader))

    async def _receive(self) -> AnyReply:
        if (body := self._reader.ready()) is not None:
            return _sound(self._spoken(decode_reply(body)))
        with _deadline(self._patience.answer_seconds):
            return _sound(self._spoken(await receive_reply(self._reader)))

    def _spoken(self, reply: AnyReply) -> AnyReply:
        self.answers += 1
        if isinstance(reply, Unsupported):
            raise AttemptFailed(f"the node speaks version {', '.join(map(str, reply.versions))} of the job protocol")
        return reply


def expect(submission: Submission, node: PeerId, client: PeerId) -> Expected:
    """What `node` owes `client` for `submission`. Raises :exc:`AttemptFailed` where both are one."""
    if node == client:
        raise AttemptFailed(
            "that is this node itself", "a node does not take its own jobs: name another, or plasm run does it here"
        )
    digest = submission.job.digest()
    return Expected(
        job_id=job_id(client, submission.nonce, digest),
        node=node,
        client=client,
        nonce=submission.nonce,
        job=submission.job,
        digest=digest,
        runtime=submission.runtime,
    )


@contextlib.contextmanager
def _transfer(what: str) -> Iterator[None]:
    """Bulk bytes have a deadline of their own; over a link that is too slow for it the same is not tried again."""
    with anyio.CancelScope(deadline=anyio.current_time() + TRANSFER_SECONDS) as scope:
        yield
    if scope.cancelled_caught:
        raise AttemptFailed(f"{what} took longer than {TRANSFER_SECONDS} s")


@contextlib.contextmanager
def _deadline(seconds: float, *, first: bool = False) -> Iterator[None]:
    """A node that answers nothing to the first question is not asked again; one that fell silent later may be."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        kind = NodeSilent if first else ConnectionLost
        raise kind(f"no sign of life for {seconds:g} s") from None


@contextlib.contextmanager
def _attempt() -> Iterator[None]:
    try:
        yield
    except StreamBroken as error:
        raise ConnectionLost(f"the connection was lost: {error}") from None
    except FrameCut as error:
        raise ConnectionLost(str(error)) from None
    except (ProtocolViolation, FrameError) as error:
        raise AttemptFailed(str(error)) from None


def _sound(reply: AnyReply) -> AnyReply:
    if isinstance(reply, Failed) and reply.reason == "Cancelled":
        raise JobCancelled(f"the job was cancelled: {one_line(reply.detail)}")
    if isinstance(reply, Failed):
        raise _failure(reply)
    return reply


def _unexpected(reply: object) -> AttemptFailed:
    return AttemptFailed(f"the node answered with {type(reply).__name__}, which was not asked for")


def _failure(reply: Failed) -> AttemptFailed:
    kind = NotFinished if reply.reason == "NotFinished" else AttemptFailed
    return kind(f"{one_line(reply.reason)}: {one_line(reply.detail)}", reason=reply.reason)
