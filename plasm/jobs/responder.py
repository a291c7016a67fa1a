"""The node's side of ``/phase/job/1``: answers the streams of peers, each with deadlines and bounds."""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter

import anyio
import anyio.lowlevel

from plasm.errors import one_line
from plasm.faultlog import FaultLog
from plasm.jobs.admission import OfferRejected
from plasm.jobs.budget import Budget
from plasm.jobs.deadlines import Deadlines, TimedStream
from plasm.jobs.framing import FrameError, FrameReader
from plasm.jobs.manifest import InvalidJob
from plasm.jobs.messages import (
    INLINE_BYTES,
    Accepted,
    Cancel,
    Cancelled,
    Describe,
    Failed,
    Fetch,
    Message,
    Offer,
    Piece,
    Progress,
    ProtocolViolation,
    Rejected,
    Result,
    Unsupported,
    UnsupportedVersion,
    decode_request,
    encode,
    send_pieces,
)
from plasm.jobs.outputs import joined, table_of
from plasm.jobs.queue import Tracked
from plasm.jobs.records import CANCELLED, DONE, TRANSFERRING, Ending, JournalUnusable
from plasm.jobs.worker import Worker
from plasm.ports import Located, PeerId, StoreError, Stream, StreamBroken
from plasm.shares import Origin, Shares, has_room, origin_of

IDLE_SECONDS = 120
"""A kept stream on which nothing is asked, or half a message and silence, is closed after this."""
SEND_SECONDS = 60
"""A peer that does not read what it asked for is given up after this."""
PIECE_SECONDS = 30
"""The same for each piece of a result: a peer that reads nothing must not hold others' turn for a whole transfer."""
HEARTBEAT_SECONDS = 10
"""While a job waits or runs its client hears something at least this often."""
QUIET_SECONDS = 0.05
"""A job that ends within this is answered without any progress message."""
RESULTS_BYTES = 256 * 2**20
"""Of the results that are being sent and are in memory until they are."""
RESULTS_BYTES_UNSHARED = 64 * 2**20
"""Up to this anyone has results sent; beyond it networks share evenly."""
TURN_SECONDS = 20
"""How long a result waits for its part of that: less than the silence after which a client gives up."""
REQUEST_UNITS = 20
BYTES_OF_UNIT = 256
"""What a request costs its peer, in the units of :class:`~plasm.ports.Charging`: so many, and one for so many bytes."""
SENT_BYTES_OF_UNIT = 2048
"""What is sent costs less than what has to be decoded; a few bytes ask for all of a result again."""
STREAMS_PER_PEER = 32
STREAMS = 512
"""Up to as many anyone may open; beyond that networks share them evenly."""
STREAMS_CEILING = 2048


class Responder:
    """Answers inbound streams on behalf of a worker."""

    def __init__(self, worker: Worker, software: str, log: logging.Logger) -> None:
        self._worker = worker
        self._software = software
        self._log = log
        self._faults = FaultLog(log)
        self._deadlines = Deadlines()
        self._streams: Counter[PeerId] = Counter()
        self._shares = Shares()
        """Of the streams."""
        self._results = Budget(RESULTS_BYTES, RESULTS_BYTES_UNSHARED)
        self._owed: dict[object, Tracked | Ending | None] = {}
        """For each request that is not answered yet: the job that it is about, once that was found."""
        self._answered: anyio.Event | None = None

    async def drain(self) -> None:
        """Wait until whoever asked for a job that has ended has its result, and whoever offered one its answer."""
        while any(not isinstance(found, Tracked) or found.ending is not None for found in self._owed.values()):
            if self._answered is None:
                self._answered = anyio.Event()
            await self._answered.wait()

    async def watch(self) -> None:
        """Give up peers that are silent or do not read, until cancelled."""
        await self._deadlines.watch()

    async def handle(self, stream: Stream) -> None:
        """Answer one stream until its peer ends it, breaks the protocol or, while :meth:`watch` runs, goes silent."""
        peer = stream.peer
        self._faults.tell()
        origin = origin_of(stream.remote_ip if isinstance(stream, Located) else None, peer)
        if self._streams[peer] >= STREAMS_PER_PEER or not has_room(
            self._shares, origin, 1, most=STREAMS, ceiling=STREAMS_CEILING
        ):
            self._faults.add(peer, "too many streams at once", f"{self._streams[peer]} are open")
            await stream.reset()
            return
        self._streams[peer] += 1
        self._shares.take(origin)
        try:
            with self._deadlines.of(stream, SEND_SECONDS) as timed:
                await self._converse(timed, origin)
        except (FrameError, ProtocolViolation) as error:
            self._faults.add(peer, "broke the protocol", error)
            await stream.reset()
        except TimeoutError:
            self._faults.add(peer, "silent, or does not read", "its stream is closed", level=logging.INFO)
            await stream.reset()
        except StreamBroken:
            self._log.debug("%s: the stream broke", peer)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]
            self._shares.give(origin)

    async def _converse(self, stream: TimedStream, origin: Origin) -> None:
        reader = FrameReader(stream)
        while True:
            if (body := reader.ready()) is None:
                stream.expect(IDLE_SECONDS)
                body = await reader.receive()
                stream.expect(math.inf)
            if body is None:
                return
            try:
                request = decode_request(body)
            except UnsupportedVersion:
                await self._send(stream, Unsupported())
                return
            # One piece of data holds thousands of them.
            await _charge(stream, REQUEST_UNITS + len(body) // BYTES_OF_UNIT)
            owed = object()
            self._owed[owed] = None
            try:
                await self._answer(stream, origin, reader, request, owed)
            except JournalUnusable as error:
                self._faults.add("this node", "its journal cannot be used", error, level=logging.ERROR)
                await self._send(stream, Failed(reason="NodeFailed", detail="the node cannot write its journal"))
            finally:
                del self._owed[owed]
                if self._answered is not None:
                    self._answered.set()
                    self._answered = None

    async def _answer(
        self, stream: TimedStream, origin: Origin, reader: FrameReader, request: object, owed: object
    ) -> None:
        match request:
            case Offer():
                await self._answer_offer(stream, origin, reader, request, owed)
            case Fetch():
                found = await self._worker.find(request.job_id, stream.peer)
                if found is None:
                    await self._send(stream, Failed(reason="UnknownJob", detail="never accepted, or kept no longer"))
                elif isinstance(found, Tracked) and not request.wait:
                    await self._send(stream, Failed(reason="NotFinished", detail=found.state))
                else:
                    self._owed[owed] = found
                    await self._deliver(stream, origin, request.job_id, found)
            case Cancel():
                if await self._worker.cancel(request.job_id, stream.peer):
                    await self._send(stream, Cancelled(job_id=request.job_id))
                else:
                    await self._send(stream, Failed(reason="UnknownJob", detail="nothing of that name runs or waits"))
            case Describe():
                await self._send(stream, self._worker.describe(self._software))
            case _:
                raise ProtocolViolation("a piece that nothing asked for")

    async def _answer_offer(
        self, stream: TimedStream, origin: Origin, reader: FrameReader, offer: Offer, owed: object
    ) -> None:
        try:
            found, identity, needs = await self._worker.intake.accept(offer, stream.peer, origin)
        except OfferRejected as rejected:
            self._faults.add(stream.peer, "a job was rejected", rejected, level=logging.INFO)
            await self._send(stream, Rejected(reason=rejected.reason, detail=rejected.detail[:1000]))
            return
        if isinstance(found, Tracked) and found.ending is None:
            self._log.info("job %s accepted from %s", identity, stream.peer)
        self._owed[owed] = found
        await self._answer_accepted(stream, origin, reader, offer, found, identity, needs)

    async def _answer_accepted(
        self,
        stream: TimedStream,
        origin: Origin,
        reader: FrameReader,
        offer: Offer,
        found: Tracked | Ending,
        identity: str,
        needs: tuple[str, ...],
    ) -> None:
        accepted = Accepted(
            job_id=identity,
            needs=needs,
            estimated_start_seconds=self._worker.estimated_start(found),
            keep_seconds=self._worker.bounds.keep_seconds,
        )
        ending = found if isinstance(found, Ending) else found.ending
        if ending is not None and ending.state == DONE and not ending.left_out:
            await self._send(stream, accepted, _result(identity, ending, joined(ending.outputs)))
            return
        await self._send(stream, accepted)
        if (
            isinstance(found, Tracked)
            and needs
            and not await self._receive_transfer(stream, reader, offer, needs, found)
        ):
            return
        await self._deliver(stream, origin, identity, found)

    async def _receive_transfer(
        self, stream: TimedStream, reader: FrameReader, offer: Offer, needs: tuple[str, ...], tracked: Tracked
    ) -> bool:
        """Whether all has arrived that the job needs. A stream that brings it again takes over from an earlier one."""
        if tracked.transfer is not None and tracked.state == TRANSFERRING and not tracked.supplied:
            tracked.transfer.cancel()
        transfer = _Transfer(stream, reader, offer, needs)
        problem: StoreError | None = None
        with anyio.CancelScope() as scope:
            tracked.transfer = scope
            try:
                with anyio.fail_after(self._worker.bounds.transfer_seconds):
                    try:
                        await self._take_transfer(transfer, offer, needs, tracked)
                    except StoreError as error:
                        problem = error
                        # Its sender reads no answer before it has sent everything.
                        await transfer.discard()
            except (ProtocolViolation, FrameError, TimeoutError) as error:
                await self._worker.intake.abandon(tracked, one_line(str(error))[:500] or "the transfer took too long")
                raise
            finally:
                if tracked.transfer is scope:
                    tracked.transfer = None
        if scope.cancelled_caught:
            raise ProtocolViolation("the same job is brought by another stream")
        if problem is not None:
            line = one_line(str(problem))[:500]
            self._faults.add(stream.peer, "a transfer failed", line)
            await self._worker.intake.abandon(tracked, line)
            await self._send(stream, Failed(reason="BadTransfer", detail=line))
        return problem is None

    async def _take_transfer(self, transfer: _Transfer, offer: Offer, needs: tuple[str, ...], tracked: Tracked) -> None:
        # What stood in the offer was held against the job when it was admitted.
        data = offer.input
        if "module" in needs:
            async with self._worker.intake.module_writer(offer) as writer:
                left = offer.module_size
                while left:
                    piece = await transfer.receive(left)
                    await writer.write(piece)
                    left -= len(piece)
        if "input" in needs:
            received = bytearray()
            while len(received) < offer.input_size:
                received += await transfer.receive(offer.input_size - len(received))
            data = bytes(received)
            try:
                offer.job.check_input(data)
            except InvalidJob as error:
                raise ProtocolViolation(str(error)) from None
        await self._worker.intake.supplied(tracked, data)

    async def _deliver(self, stream: TimedStream, origin: Origin, identity: str, found: Tracked | Ending) -> None:
        if isinstance(found, Tracked):
            with anyio.move_on_after(QUIET_SECONDS):
                while found.ending is None:
                    await found.changed()
            while found.ending is None:
                shown = (found.state, found.ahead)
                await self._send(stream, Progress(state=found.state, ahead=found.ahead))
                with anyio.move_on_after(HEARTBEAT_SECONDS):
                    while found.ending is None and (found.state, found.ahead) == shown:
                        await found.changed()
            found = found.ending
        if found.state == CANCELLED:
            await self._send(stream, Failed(reason="Cancelled", detail=found.detail))
        elif found.state != DONE:
            await self._send(stream, Failed(reason=found.reason or "NodeFailed", detail=one_line(found.detail)[:1000]))
        else:
            await self._send_in_turn(stream, origin, identity, found)

    async def _send_in_turn(self, stream: TimedStream, origin: Origin, identity: str, ending: Ending) -> None:
        if not ending.left_out:
            await self._send_result(stream, identity, ending)
            return
        # Before its turn: nobody waits for what one peer owes.
        await _charge(stream, ending.left_out // SENT_BYTES_OF_UNIT)
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._results.part(origin, ending.left_out, TURN_SECONDS))
            except TimeoutError:
                await self._send(stream, Failed(reason="NodeFailed", detail="busy with sending results: ask again"))
                return
            # Read now and not before, so that what waits its turn takes no memory.
            whole = await self._worker.whole(identity, ending)
            if whole is None:
                await self._send(stream, Failed(reason="UnknownJob", detail="kept no longer"))
                return
            await self._send_result(stream, identity, whole)

    async def _send_result(self, stream: TimedStream, identity: str, ending: Ending) -> None:
        data = joined(ending.outputs)
        await self._send(stream, _result(identity, ending, data))
        if len(data) > INLINE_BYTES:
            with anyio.fail_after(self._worker.bounds.transfer_seconds):
                await send_pieces(stream, data, PIECE_SECONDS)

    async def _send(self, stream: TimedStream, *messages: Message) -> None:
        answer = b"".join(map(encode, messages))
        await stream.send(answer)
        if units := len(answer) // SENT_BYTES_OF_UNIT:
            await _charge(stream, units)


def _result(identity: str, ending: Ending, data: bytes) -> Result:
    return Result(
        job_id=identity,
        receipt=ending.receipt,
        outputs=table_of(ending.outputs),
        data=data if len(data) <= INLINE_BYTES else None,
        detail=one_line(ending.detail)[:1000],
    )


async def _charge(stream: TimedStream, units: int) -> None:
    """Have the peer wait for what it costs, and let others run."""
    await (stream.charge(units) if stream.charge is not None else anyio.lowlevel.checkpoint())


class _Transfer:
    """What a client is to send after its offer was accepted."""

    def __init__(self, stream: TimedStream, reader: FrameReader, offer: Offer, needs: tuple[str, ...]) -> None:
        self._stream = stream
        self._reader = reader
        self._left = 0
        if "module" in needs:
            self._left += offer.module_size
        if "input" in needs:
            self._left += offer.input_size

    async def receive(self, most: int) -> bytes:
        """The next piece. Raises :exc:`ProtocolViolation` where something else, or more than `most` bytes, comes."""
        body = await self._reader.receive()
        if body is None:
            raise ProtocolViolation("the stream ended inside a transfer")
        message = decode_request(body)
        if not isinstance(message, Piece) or not 0 < len(message.data) <= most:
            raise ProtocolViolation("a piece of the transfer was due")
        # One piece may be a single byte.
        await _charge(self._stream, 1)
        self._left -= len(message.data)
        return message.data

    async def discard(self) -> None:
        """Take what is left of it, for nothing."""
        while self._left:
            await self.receive(self._left)
