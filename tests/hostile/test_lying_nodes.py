"""A client among nodes that lie: nothing of theirs is delivered, the reason is kept, an honest node does the job."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio
import msgspec
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.conversation import AttemptFailed
from plasm.jobs.framing import encode_frame
from plasm.jobs.manifest import job_id
from plasm.jobs.messages import (
    Accepted,
    Cancelled,
    Description,
    Failed,
    Offer,
    Piece,
    Progress,
    Rejected,
    Result,
    Unsupported,
    decode_request,
    encode,
)
from plasm.jobs.outputs import Output, table_of
from plasm.jobs.patience import Patience
from plasm.ports import Outcome, PeerId, Verdict
from plasm.testing import FakeSigner
from tests.jobs.world import Events, ignore, receipt_for, submission

pytestmark = pytest.mark.anyio

EVIL = "\x1b[2J\r\n\u202efake"
LIAR = FakeSigner(50)
CLIENT = FakeSigner(100).peer
OUTCOME = Outcome(verdict=Verdict.EXITED, exit_code=0, stdout=b"a lie")


@dataclass
class Asked:
    """An offer that a lying node got and accepted, as an honest one would."""

    talk: object
    offer: Offer
    client: PeerId

    @property
    def job_id(self) -> str:
        return job_id(self.client, self.offer.nonce, self.offer.job.digest())

    def result(self, *, stdout: bytes = b"a lie", stderr: bytes = b"", **changes: object) -> Result:
        """The true answer, had this node run the job; `changes` make it a lie."""
        about = {
            "job": self.offer.job,
            "signer": LIAR,
            "client": self.client,
            "nonce": self.offer.nonce,
            "outcome": OUTCOME,
        }
        for name in [*changes]:
            if name in about or name == "node":
                about[name] = changes.pop(name)
        job = about.pop("job")
        fields = {
            "job_id": self.job_id,
            "receipt": receipt_for(job, **about),
            "outputs": table_of({"stdout": stdout, "stderr": stderr}),
            "data": stdout + stderr,
        }
        return Result(**{**fields, **changes})


@asynccontextmanager
async def lying(world, answer, *, seed: int = 50):
    """A node that accepts every offer and then does what `answer` says."""

    async def behave(talk) -> None:
        while (body := await talk.reader.receive()) is not None:
            offer = decode_request(body)
            asked = Asked(talk, offer, talk.stream.peer)
            if isinstance(offer, Offer):
                await talk.send(Accepted(job_id=asked.job_id, keep_seconds=60))
            for reply in answer(asked):
                if isinstance(reply, bytes):
                    await talk.stream.send(reply)
                else:
                    await talk.send(reply)

    async with world.posing(behave, seed=seed) as found:
        yield found


async def refused(world, answer) -> str:
    """The job goes on to the honest node; why the lying one's answer was not taken."""
    events, delivered = Events(), None
    with anyio.fail_after(10):
        async with lying(world, answer) as liar, world.node() as honest, world.client(seed=100) as client:
            delivered = await client.submit(
                submission(stdin=b"in"), name="x", report=events, peers=[*liar.addresses, honest.address]
            )
    assert (delivered.node, delivered.stdout) == (honest.peer, b"in")
    (failed,) = [event for event in events if event.kind == "node_failed"]
    assert failed.node == liar.peer
    assert failed.detail.isprintable()
    verified = [event for event in events if event.kind == "verified"]
    assert [event.node for event in verified] == [honest.peer]
    return failed.detail


async def test_the_answer_that_the_lies_are_made_from_would_be_taken(world):
    with anyio.fail_after(10):
        async with lying(world, lambda asked: [asked.result()]) as liar, world.client(seed=100) as client:
            delivered = await client.submit(submission(), name="x", report=ignore, peers=liar.addresses)
    assert delivered.stdout == b"a lie"


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (lambda asked: asked.result(stdout=b"another lie"), "receipt refused: the receipt is for another stdout"),
        (lambda asked: asked.result(stderr=b"more"), "another stderr"),
        (lambda asked: asked.result(signer=FakeSigner(51)), "receipt refused: signed by"),
        (lambda asked: asked.result(signer=FakeSigner(51), node=LIAR.peer), "the signature is not one of"),
        (lambda asked: asked.result(nonce=bytes(16)), "another nonce"),
        (lambda asked: asked.result(client=FakeSigner(9).peer), "another client"),
        (lambda asked: asked.result(job=submission(b"other").job), "another job"),
        (lambda asked: asked.result(receipt=b""), "not a receipt"),
        (lambda asked: asked.result(receipt=EVIL.encode()), "not a receipt"),
        (lambda asked: asked.result(job_id="0" * 32), "Result, which was not asked for"),
    ],
)
async def test_a_result_that_is_not_proven_to_be_this_jobs_is_refused(world, lie, why):
    assert why in await refused(world, lambda asked: [lie(asked)])


async def test_an_answer_of_another_runtime_than_was_asked_for_is_refused(world):
    with anyio.fail_after(10):
        async with lying(world, lambda asked: [asked.result()]) as liar, world.client(seed=100) as client:
            asked = replace(submission(), runtime="another")
            with pytest.raises(NoNode, match="receipt refused: the receipt is for another runtime"):
                await client.submit(asked, name="x", report=ignore, peers=liar.addresses)


@pytest.mark.parametrize(
    "outputs",
    [
        (Output(name="stdout", size=2), Output(name="stdout", size=3), Output(name="stderr", size=0)),
        (Output(name="stderr", size=0), Output(name="stdout", size=5)),
        (Output(name="stdout", size=5),),
    ],
    ids=["twice", "in another order", "without stderr"],
)
async def test_outputs_that_are_not_named_as_the_text_has_it_are_refused(world, outputs):
    data = b"xxa lie"[-sum(output.size for output in outputs) :]
    why = await refused(world, lambda asked: [asked.result(outputs=outputs, data=data)])
    assert "the outputs are not stdout, stderr and the files of /out" in why


async def test_a_receipt_of_an_earlier_job_is_not_taken_for_this_one(world):
    earlier = []

    def answer(asked: Asked):
        earlier.append(asked.result())
        first = earlier[0]
        return [msgspec.structs.replace(first, job_id=asked.job_id)]

    with anyio.fail_after(10):
        async with lying(world, answer) as liar, world.client(seed=100) as client:
            await client.submit(submission(), name="x", report=ignore, peers=liar.addresses)
            with pytest.raises(NoNode, match="another nonce"):
                await client.submit(submission(), name="x", report=ignore, peers=liar.addresses)


async def test_a_true_receipt_of_an_honest_node_is_not_taken_from_another(world):
    with anyio.fail_after(10):
        async with world.node() as honest, world.client(seed=100) as client:
            job = submission(stdin=b"in")
            true = await client.submit(job, name="x", report=ignore, peers=[honest.address])
            stolen = Result(job_id=true.job_id, receipt=true.receipt, outputs=table_of({"stdout": b"in"}), data=b"in")
            async with lying(world, lambda asked: [stolen]) as liar:
                with pytest.raises(NoNode, match=f"signed by {honest.peer}, expected {liar.peer}"):
                    await client.submit(job, name="x", report=ignore, peers=liar.addresses)


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (Accepted(job_id="0" * 32), "Accepted, which was not asked for"),
        (Piece(data=b"x"), "Piece, which was not asked for"),
        (Cancelled(job_id="0" * 32), "Cancelled, which was not asked for"),
        (Failed(reason=EVIL, detail=EVIL), "fake"),
        (Unsupported(versions=(7,)), "speaks version 7"),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x10", "length prefix"),
        (b"\xff\xff\x7f", "over the cap"),
        (encode_frame(EVIL.encode()), "not a reply"),
        (encode_frame(b"\x91" * 100_000), "not a reply"),
    ],
)
async def test_an_answer_that_has_no_place_is_refused(world, lie, why):
    assert why in await refused(world, lambda asked: [lie])


@pytest.mark.parametrize(
    "lie",
    [
        lambda asked: [asked.result(outputs=(Output(name="stdout", size=2**40),), data=None)],
        lambda asked: [
            asked.result(outputs=(Output(name="stdout", size=16 * 2**20), Output(name="out/a", size=1)), data=None)
        ],
    ],
)
async def test_more_output_than_the_job_may_write_is_not_received(world, lie):
    assert "more output than the job may write" in await refused(world, lie)


@pytest.mark.parametrize(
    "pieces",
    [
        [Piece(data=b"x" * 11)],
        [Piece(data=b"")],
        [Progress(state="running")],
        [Piece(data=b"12345"), Piece(data=b"123456")],
    ],
)
async def test_output_of_another_size_than_was_said_is_refused(world, pieces):
    why = await refused(
        world, lambda asked: [asked.result(outputs=(Output(name="stdout", size=10),), data=None), *pieces]
    )
    assert "not asked for" in why or "not a reply" in why


async def test_a_rejection_full_of_control_characters_is_shown_escaped(world):
    async def behave(talk) -> None:
        await talk.reader.receive()
        await talk.send(Rejected(reason=EVIL, detail=EVIL * 20))

    with anyio.fail_after(10):
        async with world.posing(behave, seed=50) as liar, world.client() as client:
            with pytest.raises(NoNode, match="rejected") as caught:
                await client.submit(submission(), name="x", report=ignore, peers=liar.addresses)
    assert str(caught.value).isprintable()
    assert all(reason.isprintable() for _, reason in caught.value.failures)


async def test_progress_full_of_control_characters_is_shown_escaped(world):
    events = Events()
    with anyio.fail_after(10):
        async with (
            lying(world, lambda asked: [Progress(state=EVIL), asked.result(detail=EVIL)]) as liar,
            world.client(seed=100) as client,
        ):
            delivered = await client.submit(submission(), name="x", report=events, peers=liar.addresses)
    assert delivered.detail.isprintable()
    assert all((event.kind + event.detail).isprintable() for event in events)


@pytest.mark.parametrize("when", ["before the answer", "after it accepted", "inside a frame"])
async def test_a_node_that_falls_silent_is_given_up_at_the_deadline(world, when):
    async def behave(talk) -> None:
        offer = decode_request(await talk.reader.receive())
        if when == "after it accepted":
            await talk.send(Accepted(job_id=job_id(talk.stream.peer, offer.nonce, offer.job.digest())))
        elif when == "inside a frame":
            await talk.stream.send(encode(Accepted(job_id="0" * 32))[:-1])
        await anyio.sleep_forever()

    with anyio.fail_after(10):
        patience = Patience(answer_seconds=0.05, first_answer_seconds=0.05)
        async with world.posing(behave, seed=50) as mute, world.client(patience=patience) as client:
            with pytest.raises(NoNode, match="no sign of life"):
                await client.submit(submission(), name="x", report=ignore, peers=mute.addresses)


async def test_a_node_that_only_ever_shows_signs_of_life_is_given_up_too(world, monkeypatch):
    monkeypatch.setattr("plasm.jobs.conversation.TRANSFER_SECONDS", 0.2)

    async def behave(talk) -> None:
        offer = decode_request(await talk.reader.receive())
        await talk.send(Accepted(job_id=job_id(talk.stream.peer, offer.nonce, offer.job.digest())))
        while True:
            await talk.send(Progress(state="running"))
            await anyio.sleep(0.01)

    job = replace(submission(timeout_seconds=1), wait_seconds=0)
    with anyio.fail_after(10):
        async with world.posing(behave, seed=50) as liar, world.client() as client:
            with pytest.raises(NoNode, match="no result within 1 s"):
                await client.submit(job, name="x", report=ignore, peers=liar.addresses)


async def test_a_node_that_asks_for_more_than_it_needs_gets_no_more_than_the_job(world):
    taken = bytearray()

    async def behave(talk) -> None:
        offer = decode_request(await talk.reader.receive())
        identity = job_id(talk.stream.peer, offer.nonce, offer.job.digest())
        await talk.send(Accepted(job_id=identity, needs=("money", "module")))
        while len(taken) < offer.module_size:
            taken.extend(decode_request(await talk.reader.receive()).data)
        await talk.send(Failed(reason="BadTransfer"))

    job = submission()
    with anyio.fail_after(10):
        async with world.posing(behave, seed=50) as liar, world.client() as client:
            with pytest.raises(NoNode, match="BadTransfer"):
                await client.submit(job, name="x", report=ignore, peers=liar.addresses)
    assert bytes(taken) == job.module


async def test_what_a_lying_node_says_of_itself_is_bounded_and_what_it_breaks_is_shown_as_a_problem(world):
    async def behave(talk) -> None:
        await talk.reader.receive()
        fields = msgspec.to_builtins(
            Description(
                software="x", arch="x", runtimes=(), slots=1, free=1, queued=0, memory_mb=1, max_timeout_seconds=1
            )
        )
        await talk.stream.send(encode_frame(msgspec.msgpack.encode(fields | {"software": EVIL * 1000})))

    with anyio.fail_after(10):
        async with world.posing(behave, seed=50) as liar, world.client() as client:
            seen = await client.describe(liar)
    assert seen.description is None
    assert "not a reply" in seen.problem
    assert seen.problem.isprintable()


async def test_a_result_that_is_asked_for_later_is_of_the_runtime_that_was_asked_for(world):
    offers = []

    async def behave(talk) -> None:
        while (body := await talk.reader.receive()) is not None:
            request = decode_request(body)
            if isinstance(request, Offer):
                offers.append(Asked(talk, request, talk.stream.peer))
                await talk.send(Accepted(job_id=offers[0].job_id, keep_seconds=60), Progress(state="running"))
            else:
                await talk.send(offers[0].result())

    asked = replace(submission(), runtime="another")
    with anyio.fail_after(10):
        async with world.posing(behave, seed=50) as liar, world.client(seed=100) as client:
            detached = await client.detach(asked, name="x", report=ignore, peers=liar.addresses)
            with pytest.raises(AttemptFailed, match="another runtime"):
                await client.result(detached.job_id, wait=True, report=ignore)


async def test_a_result_that_is_asked_for_later_is_held_against_the_same(world):
    with anyio.fail_after(10):
        async with world.client(seed=100) as client:
            job = submission()

            def answer(asked: Asked):
                if isinstance(asked.offer, Offer):
                    return []
                receipt = receipt_for(job.job, signer=LIAR, client=client.peer, nonce=bytes(16), outcome=OUTCOME)
                return [
                    Result(
                        job_id=asked.offer.job_id,
                        receipt=receipt,
                        outputs=table_of({"stdout": b"a lie"}),
                        data=b"a lie",
                    )
                ]

            async with lying(world, answer) as liar:
                detached = await client.detach(job, name="x", report=ignore, peers=liar.addresses)
                with pytest.raises(AttemptFailed, match="another nonce"):
                    await client.result(detached.job_id, wait=True, report=ignore)


async def test_nothing_that_a_node_says_stands_in_the_clients_log_unescaped(world, caplog):
    caplog.set_level(logging.DEBUG)
    await refused(world, lambda asked: [Failed(reason=EVIL, detail=EVIL)])
    await refused(world, lambda asked: [encode_frame(msgspec.msgpack.encode({"type": EVIL}))])
    assert all(record.getMessage().isprintable() for record in caplog.records)
