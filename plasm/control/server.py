"""The node's end of the control socket."""

from __future__ import annotations

import contextlib
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec
from anyio.abc import ByteStream

from plasm.control.address import SOCKET_NAME, ControlSource, control_address
from plasm.control.messages import (
    VERSION,
    AskCancel,
    AskJobs,
    AskNodes,
    AskResult,
    Execute,
    Finished,
    Happened,
    Jobs,
    Left,
    Piece,
    Request,
    Seen,
    Stopped,
    Submit,
    encode,
    receive_request,
)
from plasm.control.problems import problem_of
from plasm.errors import PlasmError, leaves, ungrouped
from plasm.jobs.client import Detached, SeenNode
from plasm.jobs.conversation import Delivered, Event, Report, Submission
from plasm.jobs.framing import MAX_CHUNK, FrameError, FrameReader
from plasm.jobs.manifest import InvalidJob
from plasm.jobs.messages import ProtocolViolation
from plasm.jobs.outputs import joined, table_of
from plasm.jobservice import JobService
from plasm.ports import PortError

T = TypeVar("T")

_MOST_AT_ONCE = 256
_TRANSFER_SECONDS = 120
_WAITING_EVENTS = 256


class ControlSocketTaken(PlasmError):
    """The control socket cannot be made."""


@contextlib.asynccontextmanager
async def serve_control(
    folder: Path | None, service: JobService, log: logging.Logger, *, most_look_seconds: float | None = None
) -> AsyncIterator[None]:
    """Answer on ``control.sock`` in `folder` while the block runs; without a folder there is none.

    For a node that takes a job is looked no longer than `most_look_seconds`. Only whoever holds the home's lock may
    call this: a socket that is there was left by a process that is gone. Raises :exc:`ControlSocketTaken`.
    """
    if folder is None:
        yield
        return
    path = folder / SOCKET_NAME
    try:
        if path.is_symlink() or (path.exists() and not stat.S_ISSOCK(path.stat().st_mode)):
            raise ControlSocketTaken(f"{path} is in the way, and no socket of Plasm's", "choose another --home")
        with control_address(folder) as address:
            listener = await anyio.create_unix_listener(address, mode=0o600)
    except OSError as error:
        raise ControlSocketTaken(f"{path} cannot be made: {error.strerror or error}", "choose another --home") from None
    at_once = anyio.CapacityLimiter(_MOST_AT_ONCE)

    async def handle(stream: ByteStream) -> None:
        async with stream, at_once:
            await _converse(stream, service, log, most_look_seconds)

    with ungrouped():
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                tasks.cancel_scope.cancel()


async def _converse(
    stream: ByteStream, service: JobService, log: logging.Logger, most_look_seconds: float | None
) -> None:
    try:
        await _take_request(stream, service, most_look_seconds)
    except Exception as error:
        cause = next(leaves(error))
        if isinstance(cause, ProtocolViolation | FrameError | TimeoutError):
            log.warning("control socket: %s", cause)
        elif isinstance(cause, anyio.BrokenResourceError | anyio.ClosedResourceError):
            log.debug("control socket: the asker went away")
        else:
            log.exception("control socket")


async def _take_request(stream: ByteStream, service: JobService, most_look_seconds: float | None) -> None:
    reader = FrameReader(ControlSource(stream))
    module, data = b"", b""
    with anyio.fail_after(_TRANSFER_SECONDS):
        request = await receive_request(reader)
        if request is None:
            return
        if isinstance(request, Submit) and most_look_seconds is not None:
            request = msgspec.structs.replace(request, look_seconds=min(request.look_seconds, most_look_seconds))
        if isinstance(request, Submit | Execute):
            module = await _receive_pieces(reader, request.module_size)
            data = await _receive_pieces(reader, request.input_size)
    problem: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        # What was begun for an asker that goes away is stopped.
        tasks.start_soon(_cancel_with_asker, reader, tasks.cancel_scope)
        try:
            if isinstance(request, Piece) or request.version != VERSION:
                raise PlasmError(f"the running node's control socket speaks version {VERSION}", "restart the node")
            await _answer(stream, request, module, data, service)
        except Exception as error:
            problem = next(leaves(error))
            if not isinstance(problem, PlasmError | PortError):
                raise
        if problem is not None:
            await stream.send(encode(problem_of(problem)))
        tasks.cancel_scope.cancel()


async def _answer(stream: ByteStream, request: Request, module: bytes, data: bytes, service: JobService) -> None:
    match request:
        case Submit():
            await _send_away(stream, request, module, data, service)
        case Execute():
            await _send_delivered(stream, await service.execute(_submission(request, module, data)))
        case AskResult():
            delivered = await _with_events(
                stream,
                lambda report: service.result(request.job_id, wait=request.wait, report=report, peers=request.peers),
            )
            await _send_delivered(stream, delivered)
        case AskJobs():
            sent, hosted = await service.jobs()
            await stream.send(encode(Jobs(sent=tuple(sent), hosted=tuple(hosted))))
        case AskCancel():
            await stream.send(encode(Stopped(stopped=await service.cancel(request.job_id, peers=request.peers))))
        case AskNodes():
            await _send_nodes(stream, request, service)


async def _send_away(stream: ByteStream, request: Submit, module: bytes, data: bytes, service: JobService) -> None:
    submission = replace(_submission(request, module, data), arch=request.arch, wait_seconds=request.wait_seconds)

    async def send(report: Report) -> Delivered | Detached:
        do = service.detach if request.detach else service.submit
        return await do(
            submission, name=request.name, report=report, peers=request.peers, look_seconds=request.look_seconds
        )

    done = await _with_events(stream, send)
    if isinstance(done, Detached):
        await stream.send(encode(Left(job_id=done.job_id, node=done.node, keep_seconds=done.keep_seconds)))
    else:
        await _send_delivered(stream, done)


def _submission(request: Submit | Execute, module: bytes, data: bytes) -> Submission:
    try:
        stdin, inputs = request.job.split_input(data)
    except InvalidJob as error:
        raise PlasmError(str(error)) from None
    return Submission(
        job=request.job, module=module, stdin=stdin, inputs=inputs, nonce=request.nonce, runtime=request.runtime
    )


async def _with_events(stream: ByteStream, operation: Callable[[Report], Awaitable[T]]) -> T:
    send, receive = anyio.create_memory_object_stream[Event](_WAITING_EVENTS)
    results: list[T] = []

    def report(event: Event) -> None:
        # An asker that does not read loses events, and holds up nothing.
        with contextlib.suppress(anyio.WouldBlock):
            send.send_nowait(event)

    async def work() -> None:
        with send:
            results.append(await operation(report))

    async with anyio.create_task_group() as tasks:
        with receive:
            tasks.start_soon(work)
            async for event in receive:
                await stream.send(encode(Happened(event=event)))
    return results[0]


async def _send_delivered(stream: ByteStream, delivered: Delivered) -> None:
    await stream.send(
        encode(
            Finished(
                job_id=delivered.job_id,
                node=delivered.node,
                receipt=delivered.receipt,
                outputs=table_of(delivered.outputs),
                detail=delivered.detail,
            )
        )
    )
    data = joined(delivered.outputs)
    for start in range(0, len(data), MAX_CHUNK):
        await stream.send(encode(Piece(data=data[start : start + MAX_CHUNK])))


async def _send_nodes(stream: ByteStream, request: AskNodes, service: JobService) -> None:
    send, receive = anyio.create_memory_object_stream[SeenNode](_WAITING_EVENTS)

    def seen(node: SeenNode) -> None:
        with contextlib.suppress(anyio.WouldBlock):
            send.send_nowait(node)

    async def look() -> None:
        await service.watch_nodes(seen, peers=request.peers, arch=request.arch)

    async with anyio.create_task_group() as tasks:
        with send, receive:
            tasks.start_soon(look)
            async for node in receive:
                await stream.send(
                    encode(
                        Seen(
                            peer=node.peer,
                            addresses=node.addresses,
                            source=node.source,
                            description=node.description,
                            latency_seconds=node.latency_seconds,
                            problem=node.problem,
                        )
                    )
                )


async def _cancel_with_asker(reader: FrameReader, scope: anyio.CancelScope) -> None:
    with contextlib.suppress(FrameError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await reader.receive()
    scope.cancel()


async def _receive_pieces(reader: FrameReader, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = await receive_request(reader)
        if not isinstance(piece, Piece) or not 0 < len(piece.data) <= size - len(received):
            raise ProtocolViolation("a piece was due")
        received += piece.data
    return bytes(received)
