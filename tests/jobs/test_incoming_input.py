"""Input that is on its way has a bound for all senders together, and room is free again once it has come or failed."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.conversation import Submission
from plasm.jobs.messages import Accepted, Cancel, Cancelled, Failed, Piece, Progress, Rejected, Result
from plasm.ports import StoreError, StreamBroken, TooLarge
from plasm.testing import DictStore
from tests.jobs.world import ECHO, Talk, age, offer_for, submission

pytestmark = pytest.mark.anyio

MOST = 20


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plasm.jobs.intake._INCOMING_BYTES", MOST)


async def _offer(talk: Talk, submitted: Submission) -> Accepted | Rejected:
    await talk.send(offer_for(submitted, input=None))
    reply = await talk.reply()
    assert isinstance(reply, Accepted | Rejected)
    return reply


async def _end(talk: Talk) -> Result | Failed:
    while isinstance(reply := await talk.reply(), Progress):
        pass
    assert isinstance(reply, Result | Failed)
    return reply


def large(number: int = 0, size: int = 15) -> Submission:
    return submission(stdin=bytes(size), args=[str(number)])


async def test_input_above_the_bound_is_rejected_whoever_brings_it(world):
    with anyio.fail_after(10):
        async with (
            world.node() as standing,
            world.stranger() as open_talk,
            world.stranger(seed=201) as open_other,
        ):
            accepted = await _offer(await open_talk(standing), large())
            assert accepted.needs == ("module", "input")
            for opened in (open_talk, open_other):
                rejected = await _offer(await opened(standing), large(1, size=MOST - 15 + 1))
                assert isinstance(rejected, Rejected)
                assert rejected.reason == "QueueFull"
            assert isinstance(await _offer(await open_other(standing), large(2, size=MOST - 15)), Accepted)
            assert standing.node.worker._queue.incoming_bytes.total == MOST
            assert len(await standing.node.worker.listed()) == 2


async def test_input_that_is_inside_its_offer_needs_no_room(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            await _offer(await open_talk(standing), large(size=MOST))
            talk = await open_talk(standing)
            await talk.send(offer_for(large(1, size=MOST * 2)))
            assert isinstance(await talk.reply(), Accepted)


async def test_the_same_offer_again_needs_no_room_of_its_own(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            submitted = large()
            first, again = await open_talk(standing), await open_talk(standing)
            assert await _offer(first, submitted) == await _offer(again, submitted)
            assert standing.node.worker._queue.incoming_bytes.total == 15


async def test_room_is_free_again_once_the_input_has_come(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talk, other = await open_talk(standing), await open_talk(standing)
            await _offer(talk, large())
            assert isinstance(await _offer(other, large(1)), Rejected)
            await talk.send(Piece(data=ECHO), Piece(data=bytes(15)))
            assert isinstance(await _end(talk), Result)
            assert (await _offer(other, large(1))).needs == ("input",)
            await other.send(Piece(data=bytes(15)))
            assert (await _end(other)).data == bytes(15)


async def test_room_is_free_again_once_the_transfer_has_failed_and_the_same_job_can_be_offered_again(world):
    store = DictStore(max_bytes=5)
    with anyio.fail_after(10):
        async with world.node(stores=[store], max_per_peer=1) as standing, world.stranger() as open_talk:
            talk, submitted = await open_talk(standing), large()
            await _offer(talk, submitted)
            await talk.send(Piece(data=ECHO), Piece(data=bytes(15)))
            failed = await _end(talk)
            assert failed.reason == "BadTransfer"
            assert standing.node.worker._queue.held == {}
            assert standing.node.worker._queue.incoming_bytes.total == 0
            assert [each.state for each in await standing.node.worker.listed()] == ["failed"]
            store._max_bytes = 1000
            # The quota of one job and the room for one input: both are free.
            assert (await _offer(talk, submitted)).needs == ("module", "input")
            await talk.send(Piece(data=ECHO), Piece(data=bytes(15)))
            assert (await _end(talk)).data == bytes(15)
    assert len(standing.runtime.calls) == 1


async def test_room_is_free_again_once_the_job_is_cancelled(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talk, other = await open_talk(standing), await open_talk(standing)
            accepted = await _offer(talk, large())
            await other.send(Cancel(job_id=accepted.job_id))
            assert isinstance(await other.reply(), Cancelled)
            assert isinstance(await _offer(other, large(1)), Accepted)


async def test_room_is_free_again_once_the_time_for_a_transfer_that_broke_off_is_over(world):
    with anyio.fail_after(15):
        async with world.node() as standing, world.stranger() as open_talk:
            talk, other = await open_talk(standing), await open_talk(standing)
            await _offer(talk, large())
            await talk.stream.reset()
            assert isinstance(await _offer(other, large(1)), Rejected)
            age(standing, 121)
            await standing.node.worker.sweep()
            assert isinstance(await _offer(other, large(1)), Accepted)


async def test_a_job_of_the_nodes_own_user_that_no_store_takes_holds_no_room(world):
    submitted = large()
    with anyio.fail_after(10):
        async with world.node(stores=[DictStore(max_bytes=5)]) as standing:
            worker = standing.node.worker
            with pytest.raises(StoreError) as caught:
                await worker.execute(offer_for(submitted, input=None), submitted.module, submitted.stdin)
            assert isinstance(caught.value, TooLarge)
            assert worker._queue.incoming_bytes.total == 0
            assert worker._queue.held == {}


async def test_one_clients_input_leaves_room_for_the_others(world):
    with anyio.fail_after(10):
        async with (
            world.node() as standing,
            world.stranger() as open_talk,
            world.stranger(seed=201) as open_other,
        ):
            assert isinstance(await _offer(await open_talk(standing), large(1, size=MOST // 2)), Accepted)
            rejected = await _offer(await open_talk(standing), large(2, size=1))
            assert isinstance(rejected, Rejected)
            assert rejected.reason == "QueueFull"
            assert isinstance(await _offer(await open_other(standing), large(3, size=MOST // 2)), Accepted)


async def test_a_second_stream_with_the_same_offer_takes_over_and_no_second_buffer_is_filled(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            submitted = large()
            first, second = await open_talk(standing), await open_talk(standing)
            await _offer(first, submitted)
            await first.send(Piece(data=submitted.module))
            accepted = await _offer(second, submitted)
            assert isinstance(accepted, Accepted)
            if "module" in accepted.needs:
                await second.send(Piece(data=submitted.module))
            await second.send(Piece(data=submitted.stdin))
            assert isinstance(await _end(second), Result)
            with pytest.raises(StreamBroken):
                while True:
                    await first.reply()


async def test_input_that_is_not_what_the_job_names_frees_its_room_at_once(world):
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            submitted = large()
            await _offer(talk, submitted)
            await talk.send(Piece(data=submitted.module))
            await talk.send(Piece(data=b"x" * len(submitted.stdin)))
            with pytest.raises(StreamBroken):
                while True:
                    await talk.reply()
            assert standing.node.worker._queue.incoming_bytes.total == 0
