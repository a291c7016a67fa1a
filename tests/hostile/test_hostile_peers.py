"""A node among peers that mean it no good: bounded memory, deadlines, a clean log, honest peers served meanwhile."""

from __future__ import annotations

import logging
import tracemalloc

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plasm.jobs.admission import OfferRejected
from plasm.jobs.framing import MAX_FRAME, encode_frame
from plasm.jobs.manifest import sha256
from plasm.jobs.messages import (
    Accepted,
    Describe,
    Description,
    Failed,
    Fetch,
    Piece,
    Progress,
    Rejected,
    Unsupported,
    encode,
)
from plasm.jobs.responder import STREAMS_PER_PEER
from plasm.ports import StreamBroken
from plasm.shares import origin_of
from plasm.testing import FakeSigner
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio

EVIL = "\x1b[2J\x1b]0;owned\x07\r\n\u202e\u2028fake log line"


async def served(world, standing, *, seed: int = 150) -> None:
    """An honest client gets its job done."""
    async with world.client(seed=seed) as client:
        delivered = await client.submit(submission(stdin=b"honest"), name="x", report=ignore, peers=[standing.address])
    assert delivered.stdout == b"honest"


async def given_up(talk) -> None:
    """The node ends the stream, and says nothing more on it."""
    with pytest.raises(StreamBroken):
        while await talk.stream.receive():
            pass


def assert_clean(caplog: pytest.LogCaptureFixture) -> None:
    for record in caplog.records:
        line = record.getMessage()
        assert line.isprintable(), repr(line)
        assert len(line) < 2500


GARBAGE = {
    "nothing that is a frame": b"\xff" * 64,
    "another protocol": b"GET / HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n" * 5,
    "a frame of noise": encode_frame(bytes(range(256))),
    "an empty frame": encode_frame(b""),
    "a frame that claims 2^60 bytes": b"\x80\x80\x80\x80\x80\x80\x80\x80\x10" + b"x" * 100,
    "a frame just over the cap": b"\x81\x80\x24" + b"x" * 100,
    "a length in a longer form": b"\x85\x80\x00hello",
    "a message of an unknown kind": encode_frame(msgspec.msgpack.encode({"type": EVIL, "version": 1})),
    "an offer with nonsense in it": encode_frame(msgspec.msgpack.encode({"type": "offer", "version": 1, "job": EVIL})),
    "nesting without end": encode_frame(b"\x91" * 100_000),
    "a member that stands twice": encode_frame(b"\x83" + encode(Describe())[2:] + b"\xa7version\x01"),
    "a piece that nothing asked for": encode(Piece(data=b"x")),
    "a reply": encode(Accepted(job_id="0" * 32)),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_ends_its_stream_leaves_a_clean_log_line_and_harms_nobody(world, caplog, name):
    caplog.set_level(logging.DEBUG)
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.stream.send(GARBAGE[name])
            await given_up(talk)
            await served(world, standing)
    assert any(record.levelno >= logging.WARNING for record in caplog.records)
    assert_clean(caplog)


async def test_a_claim_of_huge_frames_takes_no_memory(world):
    claim = encode_frame(bytes(MAX_FRAME))[:4]
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talks = [await open_talk(standing) for _ in range(30)]
            tracemalloc.start()
            try:
                for talk in talks:
                    await talk.stream.send(claim + b"x" * 1000)
                await anyio.wait_all_tasks_blocked()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            await served(world, standing)
    assert peak < 4 * 2**20


@pytest.mark.parametrize(
    "beginning", [b"", b"\x85", encode(Describe())[:-3]], ids=["nothing", "a length", "half a message"]
)
async def test_half_a_message_and_silence_ends_at_the_deadline(world, monkeypatch, beginning):
    monkeypatch.setattr("plasm.jobs.responder.IDLE_SECONDS", 0.1)
    with anyio.fail_after(5):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            if beginning:
                await talk.stream.send(beginning)
            await given_up(talk)
            await served(world, standing)


async def test_half_a_transfer_and_silence_ends_at_the_deadline(world):
    with anyio.fail_after(5):
        async with world.node(transfer_seconds=1) as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            assert (await talk.reply()).needs == ("module",)
            await talk.send(Piece(data=ECHO[:3]))
            await served(world, standing)
            await given_up(talk)
    assert standing.store.contents == {sha256(ECHO): ECHO}


async def test_half_a_message_and_the_end_is_only_a_log_line(world, caplog):
    with anyio.fail_after(5):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.stream.send(encode(Describe())[:-3])
            await talk.stream.send_eof()
            await given_up(talk)
            await served(world, standing)
    assert "inside a frame" in caplog.text


async def test_a_peer_that_reads_nothing_is_given_up(world, monkeypatch):
    monkeypatch.setattr("plasm.jobs.responder.SEND_SECONDS", 0.1)
    large = b"x" * 60_000
    with anyio.fail_after(10):
        async with world.node() as standing, world.client(seed=200) as client:
            submitted = submission(stdin=large)
            await client.submit(submitted, name="x", report=ignore)
            async with world.stranger(seed=200) as open_talk:
                talk = await open_talk(standing)
                with pytest.raises(StreamBroken):
                    while True:
                        await talk.send(Fetch(job_id=(await standing.node.worker.listed())[0].id))
            await served(world, standing)


async def test_a_thousand_offers_from_one_peer_stay_bounded_and_another_is_served_meanwhile(world):
    running = anyio.Event()
    scripts = {b"hangs": hangs(started=running), ECHO: echoes()}
    rejected: list[str] = []
    with anyio.fail_after(20):
        async with (
            world.node(scripts, slots=2, max_queue=50, max_per_peer=1) as standing,
            world.stranger() as open_talk,
            anyio.create_task_group() as tasks,
        ):
            worker = standing.node.worker

            async def flood() -> None:
                talk = await open_talk(standing)
                for _ in range(100):
                    await talk.send(offer_for(submission(b"hangs")))
                    reply = await talk.reply()
                    assert len(worker._queue.held.get("x", ())) <= 1
                    if isinstance(reply, Accepted):
                        await talk.send(Piece(data=b"hangs"))
                        await anyio.sleep_forever()
                    assert isinstance(reply, Rejected)
                    rejected.append(reply.reason)

            for _ in range(11):
                tasks.start_soon(flood)
            await running.wait()
            for seed in range(150, 155):
                await served(world, standing, seed=seed)
            await until(lambda: len(rejected) >= 1000)
            assert sum(map(len, worker._queue.held.values())) == 1
            assert len([each for each in await worker.listed() if each.state != "done"]) == 1
            tasks.cancel_scope.cancel()
    assert set(rejected) == {"QuotaExceeded"}


async def test_a_thousand_offers_at_once_are_held_to_the_quota(world):
    with anyio.fail_after(20):
        async with world.node(max_per_peer=5) as standing:
            worker = standing.node.worker
            accepted, rejected = [], []

            async def offer() -> None:
                peer = FakeSigner(200).peer
                try:
                    accepted.append(await worker.intake.accept(offer_for(submission()), peer, origin_of(None, peer)))
                except OfferRejected as error:
                    rejected.append(error.reason)

            async with anyio.create_task_group() as tasks:
                for _ in range(1000):
                    tasks.start_soon(offer)
            assert len(await worker.listed()) == 5
    assert len(accepted) == 5
    assert rejected == ["QuotaExceeded"] * 995


async def test_more_streams_than_one_peer_may_have_are_closed_and_another_is_served(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talks = [await open_talk(standing) for _ in range(STREAMS_PER_PEER)]
            await anyio.wait_all_tasks_blocked()
            for _ in range(5):
                await given_up(await open_talk(standing))
            await served(world, standing)
            await talks[0].send(Describe())
            assert isinstance(await talks[0].reply(), Description)
            for talk in talks:
                await talk.stream.aclose()
            await anyio.wait_all_tasks_blocked()
            again = await open_talk(standing)
            await again.send(Describe())
            assert isinstance(await again.reply(), Description)


async def test_another_version_is_answered_with_the_versions_spoken(world):
    with anyio.fail_after(5):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.stream.send(encode_frame(msgspec.msgpack.encode({"type": "describe", "version": 2})))
            assert await talk.reply() == Unsupported(versions=(1,))
            assert await talk.stream.receive() == b""


@pytest.mark.parametrize(
    "pieces",
    [
        [b"x" * len(ECHO)],
        [ECHO + b"x"],
        [ECHO[:5], b""],
        [ECHO[:5], ECHO],
    ],
    ids=["another module of the same size", "more than was said", "an empty piece", "more than is left"],
)
async def test_a_transfer_of_something_else_is_refused_and_nothing_of_it_is_kept(world, caplog, pieces):
    with anyio.fail_after(5):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            assert (await talk.reply()).needs == ("module",)
            await talk.send(*(Piece(data=piece) for piece in pieces))
            try:
                reply = await talk.reply()
            except StreamBroken:
                pass
            else:
                assert isinstance(reply, Failed)
                assert reply.reason == "BadTransfer"
            assert standing.store.contents == {}
            await served(world, standing)
    assert len(standing.runtime.calls) == 1
    assert_clean(caplog)


async def test_something_else_than_a_piece_inside_a_transfer_is_refused(world):
    with anyio.fail_after(5):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            await talk.reply()
            await talk.send(Describe())
            await given_up(talk)
            await served(world, standing)


@pytest.mark.parametrize("known", [False, True], ids=["a new module", "a module that the node has"])
async def test_another_input_than_the_job_names_is_never_run(world, known):
    honest = submission(stdin=b"x" * 70_000)
    with anyio.fail_after(5):
        async with world.node() as standing, world.stranger() as open_talk:
            if known:
                await served(world, standing)
            talk = await open_talk(standing)
            await talk.send(offer_for(honest))
            needs = (await talk.reply()).needs
            if "module" in needs:
                await talk.send(Piece(data=ECHO))
            await talk.send(Piece(data=b"y" * 70_000))
            await given_up(talk)
            small = await open_talk(standing)
            await small.send(offer_for(submission(stdin=b"in"), input=b"on"))
            assert (await small.reply()).reason == "InvalidRequest"
    assert [call.stdin for call in standing.runtime.calls] == [b"honest"] * known


async def test_a_size_that_is_a_lie_fails_its_own_job_alone(world):
    with anyio.fail_after(5):
        async with world.node() as standing, world.stranger() as open_talk:
            standing.store.contents[sha256(ECHO)] = ECHO
            talk = await open_talk(standing)
            await talk.send(offer_for(submission(), module_size=1))
            assert isinstance(await talk.reply(), Accepted)
            while isinstance(reply := await talk.reply(), Progress):
                pass
            assert isinstance(reply, Failed)
            await served(world, standing)


async def test_nothing_that_a_peer_says_stands_in_the_log_unescaped(world, caplog):
    caplog.set_level(logging.DEBUG)
    evil = submission(args=[EVIL])
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            for message in (
                offer_for(evil, digest=sha256(b"x")),
                offer_for(evil, arch=EVIL[:60]),
                offer_for(evil, runtime=EVIL[:60]),
                offer_for(submission(args=[EVIL + "\0"])),
            ):
                talk = await open_talk(standing)
                await talk.send(message)
                assert isinstance(await talk.reply(), Rejected)
            for fields in (
                {"type": "fetch", "version": 1, "job_id": EVIL},
                {"type": "offer", "version": 1, EVIL: EVIL},
                {"type": "cancel", "version": EVIL, "job_id": "0" * 32},
            ):
                talk = await open_talk(standing)
                await talk.stream.send(encode_frame(msgspec.msgpack.encode(fields)))
                await given_up(talk)
    assert caplog.records
    assert_clean(caplog)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=400))
async def test_a_node_outlives_arbitrary_bytes(world, data):
    with anyio.fail_after(10):
        async with world.node(announced=False) as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            try:
                await talk.stream.send(data)
                await talk.stream.send_eof()
                while await talk.stream.receive():
                    pass
            except StreamBroken:
                pass
            other = await open_talk(standing)
            await other.send(Describe())
            assert isinstance(await other.reply(), Description)
