"""The asker's end of the control socket: the job service of the node that runs on this home."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import anyio
from anyio.abc import ByteStream

from plasm.control.address import ControlSource, control_address
from plasm.control.messages import (
    AskCancel,
    AskJobs,
    AskNodes,
    AskResult,
    Execute,
    Finished,
    Happened,
    Jobs,
    Left,
    Message,
    Piece,
    Problem,
    Reply,
    Seen,
    Stopped,
    Submit,
    encode,
    receive_reply,
)
from plasm.control.problems import error_of
from plasm.errors import PlasmError
from plasm.jobs.client import Detached, SeenNode
from plasm.jobs.conversation import Delivered, Report, Submission
from plasm.jobs.framing import MAX_CHUNK, FrameCut, FrameError, FrameReader
from plasm.jobs.messages import ProtocolViolation
from plasm.jobs.outputs import cut
from plasm.jobs.receipt import ReceiptRefused, verify_receipt
from plasm.jobservice import Hosted, Sent
from plasm.ports import PeerId

_CONNECT_SECONDS = 5


class NodeGone(PlasmError):
    """The running node stopped answering its control socket."""


class RemoteJobs:
    """A :class:`~plasm.jobservice.JobService` behind the control socket in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def alive(self) -> bool:
        """Whether a node answers there."""
        try:
            stream = await self._connect()
        except OSError:
            return False
        await stream.aclose()
        return True

    async def submit(
        self, submission: Submission, *, name: str, report: Report, peers: Sequence[str], look_seconds: float
    ) -> Delivered:
        request = _submit(submission, name, peers, look_seconds, detach=False)
        async with self._ask(request, submission.module, submission.input) as reader:
            return await _delivered(reader, report)

    async def detach(
        self, submission: Submission, *, name: str, report: Report, peers: Sequence[str], look_seconds: float
    ) -> Detached:
        request = _submit(submission, name, peers, look_seconds, detach=True)
        async with self._ask(request, submission.module, submission.input) as reader:
            left = await _after_events(reader, report)
            if not isinstance(left, Left):
                raise _misplaced(left)
        return Detached(job_id=left.job_id, node=PeerId(left.node), keep_seconds=left.keep_seconds)

    async def execute(self, submission: Submission) -> Delivered:
        request = Execute(
            job=submission.job,
            module_size=len(submission.module),
            input_size=submission.input_size,
            nonce=submission.nonce,
            runtime=submission.runtime,
        )
        async with self._ask(request, submission.module, submission.input) as reader:
            return await _delivered(reader, lambda event: None)

    async def result(self, job_id: str, *, wait: bool, report: Report, peers: Sequence[str] = ()) -> Delivered:
        async with self._ask(AskResult(job_id=job_id, wait=wait, peers=tuple(peers))) as reader:
            return await _delivered(reader, report)

    async def cancel(self, job_id: str, *, peers: Sequence[str] = ()) -> bool:
        async with self._ask(AskCancel(job_id=job_id, peers=tuple(peers))) as reader:
            stopped = await _reply(reader)
            if not isinstance(stopped, Stopped):
                raise _misplaced(stopped)
        return stopped.stopped

    async def jobs(self) -> tuple[Sequence[Sent], Sequence[Hosted]]:
        async with self._ask(AskJobs()) as reader:
            jobs = await _reply(reader)
            if not isinstance(jobs, Jobs):
                raise _misplaced(jobs)
        return jobs.sent, jobs.hosted

    async def watch_nodes(self, seen: Callable[[SeenNode], None], *, peers: Sequence[str], arch: str | None) -> None:
        async with self._ask(AskNodes(peers=tuple(peers), arch=arch)) as reader:
            while True:
                node = await _reply(reader)
                if not isinstance(node, Seen):
                    raise _misplaced(node)
                seen(
                    SeenNode(
                        peer=PeerId(node.peer),
                        addresses=node.addresses,
                        source=node.source,
                        description=node.description,
                        latency_seconds=node.latency_seconds,
                        problem=node.problem,
                    )
                )

    async def _connect(self) -> ByteStream:
        with control_address(self._folder) as address:
            try:
                with anyio.fail_after(_CONNECT_SECONDS):
                    return await anyio.connect_unix(address)
            except TimeoutError:
                raise NodeGone("the running node does not answer its control socket", "restart it") from None

    @contextlib.asynccontextmanager
    async def _ask(self, request: Message, *bulk: bytes) -> AsyncIterator[FrameReader]:
        stream: ByteStream | None = None
        try:
            try:
                stream = await self._connect()
                await stream.send(encode(request))
                for data in bulk:
                    for start in range(0, len(data), MAX_CHUNK):
                        await stream.send(encode(Piece(data=data[start : start + MAX_CHUNK])))
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                raise FrameCut(str(error)) from None
            yield FrameReader(ControlSource(stream))
        except (ProtocolViolation, FrameError) as error:
            raise NodeGone(f"the running node went away: {error}", "look at its log, and ask again") from None
        finally:
            if stream is not None:
                await anyio.aclose_forcefully(stream)


def _submit(submission: Submission, name: str, peers: Sequence[str], look_seconds: float, *, detach: bool) -> Submit:
    return Submit(
        job=submission.job,
        name=name,
        module_size=len(submission.module),
        input_size=submission.input_size,
        nonce=submission.nonce,
        arch=submission.arch,
        runtime=submission.runtime,
        wait_seconds=submission.wait_seconds,
        peers=tuple(peers),
        look_seconds=look_seconds,
        detach=detach,
    )


async def _reply(reader: FrameReader) -> Reply:
    reply = await receive_reply(reader)
    if isinstance(reply, Problem):
        raise error_of(reply)
    return reply


async def _after_events(reader: FrameReader, report: Report) -> Reply:
    while isinstance(reply := await _reply(reader), Happened):
        report(reply.event)
    return reply


async def _delivered(reader: FrameReader, report: Report) -> Delivered:
    finished = await _after_events(reader, report)
    if not isinstance(finished, Finished):
        raise _misplaced(finished)
    size = sum(output.size for output in finished.outputs)
    received = bytearray()
    while len(received) < size:
        piece = await _reply(reader)
        if not isinstance(piece, Piece) or not 0 < len(piece.data) <= size - len(received):
            raise _misplaced(piece)
        received += piece.data
    node = PeerId(finished.node)
    try:
        statement = verify_receipt(finished.receipt, node)
    except ReceiptRefused as error:
        raise ProtocolViolation(str(error)) from None
    return Delivered(
        job_id=finished.job_id,
        node=node,
        statement=statement,
        receipt=finished.receipt,
        outputs=cut(finished.outputs, bytes(received)),
        detail=finished.detail,
    )


def _misplaced(reply: object) -> ProtocolViolation:
    return ProtocolViolation(f"{type(reply).__name__} was not asked for")
