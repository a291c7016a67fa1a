"""What a node says of a job on its way is shown as that, and never as something that this side has done."""

from __future__ import annotations

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.manifest import job_id
from plasm.jobs.messages import Accepted, Offer, Progress, decode_request
from plasm.ports import Digest
from tests.jobs.world import Events, submission

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("state", ["verified", "found", "node_failed", "\x1b[2J"])
async def test_a_state_that_is_none_is_no_event_of_ours(world, state):
    async def behave(talk) -> None:
        offer = decode_request(await talk.reader.receive())
        assert isinstance(offer, Offer)
        identity = job_id(talk.stream.peer, offer.nonce, Digest(offer.digest))
        await talk.send(Accepted(job_id=identity), Progress(state=state))

    events = Events()
    with anyio.fail_after(20):
        async with world.posing(behave, seed=50) as liar, world.client(seed=100) as client:
            with pytest.raises(NoNode):
                await client.submit(submission(), name="x", report=events, peers=liar.addresses)
    said = [event for event in events if event.node == liar.peer]
    assert "running" in {event.kind for event in said}
    assert {event.kind for event in said} <= {"found", "sending", "accepted", "running", "reconnecting", "node_failed"}
    assert [event.kind for event in said].count("found") == 1
    assert [event.kind for event in said].count("node_failed") == 1
