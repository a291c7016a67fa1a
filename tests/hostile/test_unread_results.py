"""A peer that asks for large results and does not read them takes no more memory than one peer's share."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.messages import Failed, Fetch, Piece, Progress, Result
from plasm.ports import StreamBroken
from plasm.testing.fakes.scripts import exits
from tests.jobs.world import ECHO, ignore, offer_for, submission, until

pytestmark = pytest.mark.anyio

SIZE = 700_000
"""More than what a stream buffers and what its reader takes at once, 256 KiB each."""


async def test_results_that_are_not_read_are_loaded_one_share_at_a_time(world, monkeypatch):
    monkeypatch.setattr("plasm.jobs.responder.RESULTS_BYTES_UNSHARED", SIZE * 2)
    monkeypatch.setattr("plasm.jobs.responder.TURN_SECONDS", 0.3)
    with anyio.fail_after(15):
        async with (
            world.node({ECHO: exits(0, stdout=bytes(SIZE))}) as standing,
            world.client() as honest,
            world.stranger(seed=200) as open_talk,
        ):
            worker, loaded = standing.node.worker, []
            whole = worker.whole

            async def counted(identity, ending):
                loaded.append(identity)
                return await whole(identity, ending)

            monkeypatch.setattr(worker, "whole", counted)
            talk = await open_talk(standing)
            submitted = submission()
            await talk.send(offer_for(submitted, module_size=len(ECHO)))
            accepted = await talk.reply()
            await talk.send(Piece(data=ECHO))
            await until(lambda: worker._queue.get(accepted.job_id) is None and len(loaded) == 1)
            talks = [await open_talk(standing) for _ in range(6)]
            for each in talks:
                await each.send(Fetch(job_id=accepted.job_id))
            replies = []
            async with anyio.create_task_group() as tasks:

                async def first_reply(each) -> None:
                    replies.append(await each.reply())

                for each in talks:
                    tasks.start_soon(first_reply, each)
            assert sum(isinstance(reply, Result) for reply in replies) == 1
            assert {reply.reason for reply in replies if isinstance(reply, Failed)} == {"NodeFailed"}
            assert len(loaded) == 2
            result = await honest.submit(submission(args=["other"]), name="x", report=ignore)
            assert result.stdout == bytes(SIZE)


async def test_a_peer_that_stops_reading_a_result_gives_its_place_back_long_before_the_transfer_is_over(
    world, monkeypatch
):
    monkeypatch.setattr("plasm.jobs.responder.PIECE_SECONDS", 0.2)
    monkeypatch.setattr("plasm.jobs.responder.RESULTS_BYTES", 2_000_000)
    monkeypatch.setattr("plasm.jobs.responder.RESULTS_BYTES_UNSHARED", 2_000_000)
    with anyio.fail_after(15):
        async with (
            world.node({ECHO: exits(0, stdout=bytes(2_000_000))}, transfer_seconds=3600) as standing,
            world.client() as honest,
            world.stranger(seed=200) as open_talk,
        ):
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            await talk.reply()
            await talk.send(Piece(data=ECHO))
            while isinstance(reply := await talk.reply(), Progress):
                pass
            assert isinstance(reply, Result)
            assert isinstance(await talk.reply(), Piece)
            # From here on it reads nothing, and holds all that there is for results until it is given up.
            delivered = await honest.submit(submission(args=["other"]), name="x", report=ignore)
            assert delivered.stdout == bytes(2_000_000)
            with pytest.raises(StreamBroken):
                while True:
                    await talk.reply()


async def test_a_peer_that_reads_slowly_has_as_long_for_each_piece(world, monkeypatch):
    monkeypatch.setattr("plasm.jobs.responder.PIECE_SECONDS", 1)
    size = 2_000_000
    with anyio.fail_after(15):
        async with world.node({ECHO: exits(0, stdout=bytes(size))}) as standing, world.stranger() as open_talk:
            talk = await open_talk(standing)
            await talk.send(offer_for(submission()))
            await talk.reply()
            await talk.send(Piece(data=ECHO))
            while isinstance(await talk.reply(), Progress):
                pass
            received, began = 0, anyio.current_time()
            while received < size:
                # The pace is what is tested: four pieces, together more than what one of them has.
                await anyio.sleep(0.3)
                received += len((await talk.reply()).data)
            assert anyio.current_time() - began > 1
