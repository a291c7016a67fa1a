"""How bytes must flow over a transport's streams: whole, held back where nobody reads, each stream for itself."""

from __future__ import annotations

import hashlib
import random

import anyio
import pytest

from plasm.ports import Stream
from plasm.testing.suites.background import tasks, together
from plasm.testing.suites.bench import Bench, MakeTransport, TransportChecks
from plasm.testing.suites.promises import within

_MIB = 2**20
_PIECE = 64 * 1024
_MOST_IN_FLIGHT = 64 * _MIB


class FlowChecks(TransportChecks):
    """How bytes must flow over a transport's streams: whole, held back where nobody reads, each stream for itself."""

    @pytest.mark.parametrize("direction", ["to the handler", "to the dialer"])
    async def test_a_large_transfer_arrives_whole(self, make: MakeTransport, direction: str) -> None:
        content = random.Random(1).randbytes(8 * _MIB)  # noqa: S311
        async with Bench(self, make) as bench, tasks() as group:
            here, there = await bench.stream()
            sender, receiver = (here, there) if direction == "to the handler" else (there, here)

            async def send() -> None:
                # One send is larger than any buffer.
                await sender.send(content[: 2 * _MIB])
                for at in range(2 * _MIB, len(content), 256 * 1024):
                    await sender.send(content[at : at + 256 * 1024])
                await sender.send_eof()

            group.start_soon(send)
            received = hashlib.sha256()
            size = 0
            with within(6 * self.patience, "8 MiB arrive"):
                while data := await receiver.receive():
                    received.update(data)
                    size += len(data)
            assert size == len(content), f"all of what is sent arrives, not {size} of {len(content)} bytes"
            assert received.digest() == hashlib.sha256(content).digest(), "large transfers arrive as they were sent"

    async def test_both_directions_flow_at_once(self, make: MakeTransport) -> None:
        size = 2 * _MIB
        async with Bench(self, make) as bench:
            pair = await bench.stream()
            got = [0, 0]

            async def send(stream: Stream) -> None:
                for _ in range(size // _PIECE):
                    await stream.send(bytes(_PIECE))
                await stream.send_eof()

            async def receive(which: int) -> None:
                while data := await pair[which].receive():
                    got[which] += len(data)

            with within(6 * self.patience, "both directions flow at once"):
                async with together() as group:
                    for which in (0, 1):
                        group.start_soon(send, pair[which])
                        group.start_soon(receive, which)
            assert got == [size, size], "each direction carries all that was sent in it"

    async def test_who_reads_slowly_holds_back_who_sends(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench, tasks() as group:
            here, there = await bench.stream()
            sent = 0

            async def send() -> None:
                nonlocal sent
                while sent < _MOST_IN_FLIGHT:
                    await here.send(bytes(_PIECE))
                    sent += _PIECE
                await here.send_eof()

            group.start_soon(send)
            with within(6 * self.patience, "send waits until there is room"):
                seen = -1
                while sent != seen:
                    seen = sent
                    await anyio.sleep(0.5)
            assert sent < _MOST_IN_FLIGHT, f"each queue has a bound: {sent} bytes were taken that nobody reads"
            read = 0
            with within(6 * self.patience, "what was held back flows once it is read"):
                while read < sent:
                    read += len(await there.receive())

    async def test_a_stream_that_nobody_reads_does_not_hold_back_another(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench, tasks() as group:
            stuck, _ = await bench.stream()

            async def fill() -> None:
                while True:
                    await stuck.send(bytes(_PIECE))

            group.start_soon(fill)
            await anyio.sleep(0.3)
            here, there = await bench.stream()
            with within(self.patience, "each stream flows for itself"):
                await here.send(b"past it")
                assert await there.receive() == b"past it", "each stream flows for itself"
