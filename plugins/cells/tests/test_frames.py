"""What a cell sends is read with caps: one that was taken over can end its own job and nothing else."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_cell.frames import CellSocket, Closed
from plasm_cells.channel import Begun, CellGone, Channel, Ended, Garbage, one_line

from plasm.ports import Verdict

pytestmark = pytest.mark.anyio

ENDED = {
    "kind": "outcome",
    "verdict": "exited",
    "exit_code": 0,
    "fuel": 1,
    "peak_memory_bytes": 2,
    "stdout_bytes": 3,
    "stderr_bytes": 3,
    "files": [],
    "cpu_seconds": 0.1,
    "wall_seconds": 0.1,
}


def frame(header: Any, body: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("!IQ", len(encoded), len(body)) + encoded + body


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


async def test_frames_that_come_together_are_told_apart(ends: Any) -> None:
    channel, theirs = ends
    theirs.sendall(frame({"kind": "begun"}) + frame(ENDED, b"abcdef"))
    with anyio.fail_after(5):
        first, _ = await channel.receive()
        second, body = await channel.receive(6)
    assert isinstance(first, Begun)
    assert isinstance(second, Ended)
    assert (second.verdict, body) == (Verdict.EXITED, b"abcdef")


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("!IQ", 1 << 31, 0),
        struct.pack("!IQ", 10, 1 << 60),
        frame({"kind": "begun"}, b"x" * 11),
        frame(b"not json"),
        frame({"kind": "launch"}),
        frame({}),
        frame([]),
        frame({**ENDED, "fuel": -1}),
        frame({**ENDED, "exit_code": 256}),
        frame({**ENDED, "verdict": "wonderful"}),
        frame({**ENDED, "more": 1}),
        frame({**ENDED, "stdout_bytes": None}),
        frame({**ENDED, "files": [["a", 1]] * 257}),
        frame({**ENDED, "files": [["a", -1]]}),
        frame(b'{"kind":' * 1000),
    ],
)
async def test_what_no_cell_of_ours_sends_is_garbage(ends: Any, sent: bytes) -> None:
    channel, theirs = ends
    theirs.sendall(sent)
    with anyio.fail_after(5), pytest.raises(Garbage):
        await channel.receive(10)


@pytest.mark.parametrize("sent", [b"", b"\0", frame(ENDED, b"abc")[:-1]])
async def test_half_a_frame_and_the_end_is_a_cell_that_is_gone(ends: Any, sent: bytes) -> None:
    channel, theirs = ends
    theirs.sendall(sent)
    theirs.close()
    with anyio.fail_after(5), pytest.raises(CellGone):
        await channel.receive(10)


async def test_a_large_body_crosses_whole_in_both_directions(ends: Any) -> None:
    channel, theirs = ends
    cell = CellSocket(theirs.detach())
    body = bytes(range(256)) * 20_000

    def answer() -> None:
        job, stdin, _ = cell.receive()
        cell.send({"kind": "failed", "detail": ascii(job["word"])}, stdin)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, answer)
            await channel.send({"word": "ü\udcff"}, body)
            reply, returned = await channel.receive(len(body))
    assert reply.detail == ascii("ü\udcff")
    assert returned == body
    channel.close()
    with pytest.raises(Closed):
        cell.receive()


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_frame_garbage_or_the_end(sent: bytes) -> None:
    async def read() -> None:
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        theirs.sendall(sent)
        theirs.close()
        try:
            with anyio.fail_after(5), pytest.raises((Garbage, CellGone)):
                while True:
                    await channel.receive(100)
        finally:
            channel.close()

    anyio.run(read, backend="asyncio")


@given(st.text())
def test_a_line_for_people_is_one_line_whatever_the_guest_named_itself(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 300
    assert line.isprintable()
