"""A node that came back under another address is found there by whoever has a job with it."""

from __future__ import annotations

import anyio
import pytest

from plasm.control.remote import RemoteJobs
from plasm.control.server import serve_control
from plasm.jobs.attempts import InvalidAddress
from plasm.jobs.client import NodeUnreachable
from plasm.jobs.patience import Patience
from plasm.jobservice import OpenJobs
from plasm.testing import DictStore, FakeSigner
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import ECHO, LOG, Events, ignore, submission, until

pytestmark = pytest.mark.anyio
IMPATIENT = Patience(look_again_seconds=0.2)


@pytest.fixture
def stores():
    """What the node stores, wherever it is."""
    return [DictStore()]


async def leave_a_job(world, client, home, stores, *, announced: bool = True) -> str:
    """A job that a node has taken, which is gone then."""
    async with world.node({ECHO: hangs()}, home=home, stores=stores, announced=announced) as standing:
        detached = await client.detach(submission(), name="x", report=ignore, peers=[standing.address])
    return detached.job_id


async def test_the_result_is_fetched_from_where_the_node_is_now_and_that_is_remembered(world, stores):
    home = world.home("node")
    with anyio.fail_after(10):
        async with world.client(book=world.folder / "book") as client:
            job_id = await leave_a_job(world, client, home, stores)
            async with world.node(home=home, stores=stores) as moved:
                (before,) = await client.submitted()
                assert before.addresses != moved.node.addresses
                assert (await client.result(job_id, wait=True, report=ignore)).node == moved.peer
                (after,) = await client.submitted()
                assert after.addresses == moved.node.addresses


async def test_a_job_is_cancelled_where_its_node_is_now(world, stores):
    home = world.home("node")
    with anyio.fail_after(10):
        async with world.client() as client:
            job_id = await leave_a_job(world, client, home, stores)
            async with world.node({ECHO: hangs()}, home=home, stores=stores):
                assert await client.cancel(job_id)


async def test_a_node_that_nobody_finds_is_asked_where_its_address_is_said_to_be(world, stores):
    home = world.home("node")
    with anyio.fail_after(10):
        async with world.client(book=world.folder / "book", patience=IMPATIENT) as client:
            job_id = await leave_a_job(world, client, home, stores, announced=False)
            async with world.node(home=home, stores=stores, announced=False) as moved:
                with pytest.raises(NodeUnreachable):
                    await client.result(job_id, wait=True, report=ignore)
                await client.result(job_id, wait=True, report=ignore, peers=[moved.address])
                # It is remembered.
                await client.result(job_id, wait=True, report=ignore)


async def test_the_address_of_another_node_is_refused(world, stores):
    with anyio.fail_after(10):
        async with world.client() as client:
            job_id = await leave_a_job(world, client, world.home("node"), stores)
            other = FakeSigner(9).peer
            with pytest.raises(InvalidAddress, match=f"{other} does not have job {job_id}"):
                await client.result(job_id, wait=True, report=ignore, peers=[f"/memory/1/p2p/{other}"])


async def test_a_node_that_is_nowhere_is_named_with_what_to_do(world, stores):
    with anyio.fail_after(10):
        async with world.client(patience=IMPATIENT) as client:
            job_id = await leave_a_job(world, client, world.home("node"), stores)
            with pytest.raises(NodeUnreachable) as caught:
                await client.result(job_id, wait=True, report=ignore)
    assert FakeSigner(1).peer in caught.value.message
    assert "looked 0.2 s for it by static (a static directory)" in caught.value.message
    assert "--peer" in caught.value.mend


async def test_a_client_that_waits_follows_its_node_to_another_address(world, stores):
    home, events, outputs = world.home("node"), Events(), []
    with anyio.fail_after(10):
        async with world.client(book=world.folder / "book") as client, anyio.create_task_group() as tasks:

            async def submit() -> None:
                outputs.append(await client.submit(submission(stdin=b"in"), name="x", report=events))

            async with world.node({ECHO: hangs()}, home=home, stores=stores) as standing:
                tasks.start_soon(submit)
                await until(lambda: "running" in events.kinds())
                peer = standing.peer
            async with world.node({ECHO: echoes()}, home=home, stores=stores) as moved:
                await until(lambda: outputs != [])
                (submitted,) = await client.submitted()
                assert submitted.addresses == moved.node.addresses
    assert (outputs[0].node, outputs[0].stdout) == (peer, b"in")
    assert "node_failed" not in events.kinds()


async def test_through_the_control_socket_a_node_is_named_and_found_too(world, stores):
    home, own = world.home("node"), world.home("own")
    folder = own.folder()
    with anyio.fail_after(10):
        async with world.client(patience=IMPATIENT) as client, serve_control(folder, OpenJobs(client), LOG):
            remote = RemoteJobs(folder)
            job_id = await leave_a_job(world, client, home, stores, announced=False)
            with pytest.raises(NodeUnreachable):
                await remote.result(job_id, wait=True, report=ignore)
            async with world.node(home=home, stores=stores, announced=False) as moved:
                delivered = await remote.result(job_id, wait=True, report=ignore, peers=[moved.address])
                assert delivered.node == moved.peer
                assert await remote.cancel(job_id, peers=[moved.address]) is False
