"""What a peer asks for on a kept stream is charged to it, request by request."""

from __future__ import annotations

import logging
import secrets

import anyio
import anyio.lowlevel
import pytest

from plasm.jobs.messages import Describe, Fetch, encode
from plasm.jobs.responder import BYTES_OF_UNIT, REQUEST_UNITS, SENT_BYTES_OF_UNIT, Responder
from tests.jobs.world import ignore, offer_for, submission

pytestmark = pytest.mark.anyio


class ChargingStream:
    """Gives all of `data` at once, and then ends; whoever is charged lets others run."""

    peer = "stranger"

    def __init__(self, data: bytes) -> None:
        self._data = [data]
        self.charged: list[int] = []

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return self._data.pop() if self._data else b""

    async def send(self, data: bytes) -> None:
        # Whoever reads everything at once never has the node wait.
        pass

    async def charge(self, units: int) -> None:
        self.charged.append(units)
        await anyio.lowlevel.checkpoint()

    async def reset(self) -> None:
        pass


async def test_each_request_of_one_piece_is_charged(world):
    asked = [Describe(), Fetch(job_id=secrets.token_hex(16))] * 50
    stream = ChargingStream(b"".join(map(encode, asked)))
    async with world.node() as standing:
        await Responder(standing.node.worker, "plasm", logging.getLogger("test")).handle(stream)
    assert stream.charged == [REQUEST_UNITS] * len(asked)


@pytest.mark.parametrize("size", [50_000, 200_000])
async def test_a_result_that_is_asked_for_again_costs_by_its_size(world, size):
    async with world.node() as standing, world.client() as client:
        job = submission(stdin=b"a" * size)
        delivered = await client.submit(job, name="x", report=ignore, peers=[standing.address])
        assert len(delivered.stdout) >= size
        stream = ChargingStream(encode(Fetch(job_id=delivered.job_id)) * 3)
        stream.peer = client.peer
        await Responder(standing.node.worker, "plasm", logging.getLogger("test")).handle(stream)
    least = size // SENT_BYTES_OF_UNIT
    assert len([units for units in stream.charged if units >= least and units != REQUEST_UNITS]) == 3


async def test_a_large_request_costs_more_than_a_small_one(world):
    stream = ChargingStream(encode(offer_for(submission(args=["a" * 60_000]), digest="sha256:" + "0" * 64)))
    async with world.node() as standing:
        await Responder(standing.node.worker, "plasm", logging.getLogger("test")).handle(stream)
    assert stream.charged[0] > REQUEST_UNITS + 60_000 // BYTES_OF_UNIT
