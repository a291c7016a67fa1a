"""What strangers hold of what is promised: full for whoever filled it, and not for a network that holds nothing."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.jobs.messages import INLINE_BYTES, Accepted, Describe, Description, Rejected
from plasm.ports import StreamBroken
from plasm.shares import Origin, Shares, has_room, origin_of
from tests.jobs.world import Talk, offer_for, submission

pytestmark = pytest.mark.anyio


async def offered(talk: Talk, number: int, size: int) -> Accepted | Rejected:
    await talk.send(offer_for(submission(stdin=bytes(size), args=[str(number)]), input=None))
    reply = await talk.reply()
    assert isinstance(reply, Accepted | Rejected)
    return reply


async def test_inputs_that_wait_are_bounded_and_a_network_without_any_still_gets_in(world):
    size = INLINE_BYTES + 1
    with anyio.fail_after(10):
        async with (
            world.node(max_waiting_input_bytes=4 * size) as standing,
            world.stranger() as open_talk,
            world.stranger(seed=201) as open_other,
        ):
            assert isinstance(await offered(await open_talk(standing), 0, size), Accepted)
            rejected = await offered(await open_talk(standing), 1, size)
            assert isinstance(rejected, Rejected)
            assert rejected.reason == "QueueFull"
            assert isinstance(await offered(await open_other(standing), 2, size), Accepted)
            assert standing.node.worker._queue.input_bytes.total == 2 * size


async def test_a_network_that_has_all_streams_leaves_others_theirs(world, monkeypatch):
    monkeypatch.setattr("plasm.jobs.responder.STREAMS", 4)
    monkeypatch.setattr("plasm.jobs.responder.STREAMS_CEILING", 16)
    with anyio.fail_after(10):
        async with world.node() as standing, world.stranger() as open_talk, world.stranger(seed=201) as open_other:
            for _ in range(4):
                talk = await open_talk(standing)
                await talk.send(Describe())
                assert isinstance(await talk.reply(), Description)
            with pytest.raises((StreamBroken, AssertionError)):
                talk = await open_talk(standing)
                await talk.send(Describe())
                await talk.reply()
            other = await open_other(standing)
            await other.send(Describe())
            assert isinstance(await other.reply(), Description)


ORIGINS = st.builds(Origin, st.sampled_from("nmo"), st.sampled_from("abc"), st.sampled_from("pqr"))


@given(st.lists(st.tuples(ORIGINS, st.integers(1, 5)), max_size=200), st.integers(1, 20))
def test_the_ceiling_holds_and_room_below_the_bound_is_anyones(asked, most):
    held = Shares()
    for origin, amount in asked:
        before = held.total
        if has_room(held, origin, amount, most=most, ceiling=4 * most):
            held.take(origin, amount)
            assert not before or held.total <= 4 * most
        else:
            assert before + amount > most


@pytest.mark.parametrize("networks", [1, 2, 5, 10])
def test_a_newcomer_gets_in_however_much_a_few_networks_have_taken(networks):
    held = Shares()
    for number in range(networks):
        for one in range(2000):
            # Every identity and every address that a network can have.
            origin = origin_of(f"198.{number}.100.{one % 250}", f"p{one}")
            if has_room(held, origin, 1, most=256, ceiling=1024):
                held.take(origin)
    assert has_room(held, origin_of("192.0.2.1", "honest"), 1, most=256, ceiling=1024)
