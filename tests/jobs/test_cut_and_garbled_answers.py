"""An answer that is cut off is asked for again; a node that answers nonsense is left at once for the next one."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.framing import FrameCut, FrameError, FrameReader, encode_frame
from plasm.jobs.manifest import job_id
from plasm.jobs.messages import (
    Accepted,
    Cancelled,
    Describe,
    Offer,
    Piece,
    Progress,
    Result,
    decode_request,
    encode,
    receive_reply,
)
from plasm.jobs.outputs import table_of
from plasm.ports import Outcome, Verdict
from plasm.testing import FakeSigner
from tests.jobs.world import Events, Talk, receipt_for, submission

pytestmark = pytest.mark.anyio

OUT = bytes(range(256)) * 400


def _answers(offer: Offer, client: str, signer: FakeSigner) -> list[bytes]:
    """The frames of an honest node whose output does not fit inside its result."""
    identity = job_id(client, offer.nonce, offer.job.digest())
    outcome = Outcome(verdict=Verdict.EXITED, exit_code=0, stdout=OUT)
    receipt = receipt_for(offer.job, signer=signer, client=client, nonce=offer.nonce, outcome=outcome)
    return [
        encode(Accepted(job_id=identity)),
        encode(Progress(state="running")),
        encode(Result(job_id=identity, receipt=receipt, outputs=table_of({"stdout": OUT}))),
        encode(Piece(data=OUT)),
    ]


class Cutting:
    """A node that ends its first stream after `whole` frames and `part` bytes of the next, and is honest then."""

    def __init__(self, *, seed: int, whole: int, part: int) -> None:
        self._signer = FakeSigner(seed)
        self._whole = whole
        self._part = part
        self.offers: list[Offer] = []

    async def __call__(self, talk: Talk) -> None:
        offer = decode_request(await talk.reader.receive())
        assert isinstance(offer, Offer)
        self.offers.append(offer)
        frames = _answers(offer, talk.stream.peer, self._signer)
        if len(self.offers) > 1:
            await talk.stream.send(b"".join(frames))
        else:
            await talk.stream.send(b"".join(frames[: self._whole]) + frames[self._whole][: self._part])


@pytest.mark.parametrize(("whole", "part"), [(0, 0), (0, 5), (1, 0), (1, 1), (2, 0), (2, 100), (3, 0), (3, 70_000)])
async def test_an_answer_that_is_cut_off_costs_a_reconnection_and_not_the_result(world, whole, part):
    events, node = Events(), Cutting(seed=2, whole=whole, part=part)
    with anyio.fail_after(10):
        async with world.posing(node, seed=2) as found, world.client() as client:
            delivered = await client.submit(submission(), name="x", report=events, peers=found.addresses)
    assert delivered.stdout == OUT
    assert delivered.node == found.peer
    assert events.kinds().count("reconnecting") == 1
    assert "node_failed" not in events.kinds()
    assert node.offers[0] == node.offers[1]
    assert len(node.offers) == 2


NONSENSE = {
    "bytes": encode_frame(b"\xc1 no message"),
    "an empty frame": encode_frame(b""),
    "a length over the cap": b"\xff\xff\xff\x7f",
    "a length in too many bytes": b"\x80\x80\x80\x80\x01",
    "a length in other than its shortest form": b"\x81\x00x",
    "a request": encode(Describe()),
    "a reply to another question": encode(Cancelled(job_id="0" * 32)),
    "another job": encode(Accepted(job_id="0" * 32)),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("after", [0, 1])
async def test_a_node_that_answers_nonsense_is_not_asked_again_and_the_next_is_at_once(
    world, monkeypatch, nonsense, after
):
    # A reconnection would take longer than the test has.
    monkeypatch.setattr("plasm.jobs.reconnecting._RECONNECT_FIRST_SECONDS", 60)
    events, asked = Events(), []

    async def behave(talk: Talk) -> None:
        offer = decode_request(await talk.reader.receive())
        asked.append(offer)
        honest = _answers(offer, talk.stream.peer, FakeSigner(2))[:after]
        await talk.stream.send(b"".join(honest) + NONSENSE[nonsense])
        # Silence from here on would be waited for.
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with world.posing(behave, seed=2) as found, world.node(seed=3) as next_one, world.client() as client:
            delivered = await client.submit(
                submission(stdin=b"in"), name="x", report=events, peers=[*found.addresses, next_one.address]
            )
    assert delivered.node == next_one.peer
    assert delivered.stdout == b"in"
    assert len(asked) == 1
    assert "reconnecting" not in events.kinds()
    (failed,) = [event for event in events if event.kind == "node_failed"]
    assert failed.node == found.peer
    assert failed.detail.isprintable()


async def test_a_node_that_ends_every_stream_is_given_up_after_a_few(world):
    events, streams = Events(), []

    async def behave(talk: Talk) -> None:
        streams.append(await talk.reader.receive())

    with anyio.fail_after(10):
        async with world.posing(behave, seed=2) as found, world.client() as client:
            with pytest.raises(NoNode, match="closed the stream instead of answering"):
                await client.submit(submission(), name="x", report=events, peers=found.addresses)
    assert len(streams) == 3
    assert events.kinds().count("reconnecting") == 2


class Fixed:
    """A stream that has `data` and then its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return data


@pytest.mark.parametrize("cut", [b"", b"\x05", b"\x05abcd", b"\xff", encode(Describe())[:-1]])
async def test_a_reply_that_ends_early_is_told_from_one_that_is_wrong(cut):
    with pytest.raises(FrameCut):
        await receive_reply(FrameReader(Fixed(cut)))
    with pytest.raises(FrameError) as caught:
        await receive_reply(FrameReader(Fixed(NONSENSE["a length over the cap"])))
    assert not isinstance(caught.value, FrameCut)
