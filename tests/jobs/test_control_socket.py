"""The control socket: a user's commands reach the running node, whose identity stays in one place."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import msgspec
import pytest

from plasm.control.address import SOCKET_NAME, control_address
from plasm.control.problems import NodeAnswered
from plasm.control.remote import NodeGone, RemoteJobs
from plasm.control.server import ControlSocketTaken, serve_control
from plasm.jobs.attempts import InvalidAddress, NoNode
from plasm.jobs.client import UnknownJob
from plasm.jobs.conversation import AttemptFailed
from plasm.jobs.framing import MAX_CHUNK, encode_frame
from plasm.jobs.receipt import hold_against, verify_receipt
from plasm.jobservice import NotExecuted, OpenJobs
from plasm.testing import StaticDiscovery
from plasm.testing.fakes.scripts import echoes, hangs, traps
from tests.jobs.world import ECHO, LOG, Events, ignore, submission, until

pytestmark = pytest.mark.anyio

ASK = {"name": "hello.wasm", "peers": (), "look_seconds": 5.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@asynccontextmanager
async def controlled(world, folder: Path, scripts=None, **settings: object):
    """A node behind its control socket, another one that it finds, and the asker's end of the socket."""
    scripts = scripts or {ECHO: echoes()}
    async with world.node(scripts, seed=1, announced=False, **settings) as own, world.node(scripts, seed=2) as other:
        service = OpenJobs(own.node.client, own.node.worker)
        # The node's client looks where the other one is announced.
        own.node.client._discoveries = {"static": StaticDiscovery(world.directory, own.peer)}
        async with serve_control(folder, service, LOG):
            yield RemoteJobs(folder), own, other
            # anyio on asyncio complains where a read is cancelled in the very moment in which its socket is readable.
            await anyio.wait_all_tasks_blocked()


async def test_a_job_is_submitted_through_the_running_node(world, folder):
    events = Events()
    submitted = submission(stdin=b"x" * (MAX_CHUNK + 1))
    with anyio.fail_after(10):
        async with controlled(world, folder) as (remote, own, other):
            delivered = await remote.submit(submitted, report=events, **ASK)
    assert delivered.stdout == submitted.stdin
    assert delivered.node == other.peer
    hold_against(
        verify_receipt(delivered.receipt, other.peer), job=submitted.job, nonce=submitted.nonce, client=own.peer
    )
    assert {"looking", "found", "sending", "accepted", "verified"} <= {*events.kinds()}


async def test_a_job_is_run_on_the_node_itself(world, folder):
    submitted = submission(stdin=b"x" * 100_000)
    with anyio.fail_after(10):
        async with controlled(world, folder, allow="nobody") as (remote, own, _):
            delivered = await remote.execute(submitted)
            again = await remote.execute(submitted)
    assert (delivered.node, delivered.stdout) == (own.peer, submitted.stdin)
    assert delivered.statement.predicate.client == own.peer
    assert again.receipt == delivered.receipt
    assert len(own.runtime.calls) == 1


async def test_a_trap_comes_through_with_its_detail(world, folder):
    with anyio.fail_after(10):
        async with controlled(world, folder, {ECHO: traps()}) as (remote, _, _):
            delivered = await remote.execute(submission())
    assert delivered.statement.predicate.verdict == "trapped"
    assert delivered.detail == "unreachable code was reached"


async def test_a_job_is_left_listed_and_fetched(world, folder):
    with anyio.fail_after(10):
        async with controlled(world, folder) as (remote, own, other):
            detached = await remote.detach(submission(stdin=b"in"), report=ignore, **ASK)
            assert detached.node == other.peer
            delivered = await remote.result(detached.job_id, wait=True, report=ignore)
            mine = await remote.execute(submission(args=["own"]))
            sent, hosted = await remote.jobs()
    assert delivered.stdout == b"in"
    assert [(each.job_id, each.name, each.node) for each in sent] == [(detached.job_id, "hello.wasm", other.peer)]
    assert [(each.job_id, each.client, each.state, each.exit_code) for each in hosted] == [
        (mine.job_id, own.peer, "done", 0)
    ]


async def test_a_job_at_another_node_is_cancelled(world, folder):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with controlled(world, folder, {ECHO: hangs(started=running)}) as (remote, _, other):
            detached = await remote.detach(submission(), report=ignore, **ASK)
            await running.wait()
            assert await remote.cancel(detached.job_id)
            assert other.runtime.cancelled == 1


async def test_a_job_that_this_node_took_is_cancelled_by_its_operator(world, folder):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with (
            controlled(world, folder, {ECHO: hangs(started=running)}) as (remote, own, _),
            world.client() as client,
        ):
            detached = await client.detach(submission(), name="x", report=ignore, peers=[own.address])
            await running.wait()
            assert await remote.cancel(detached.job_id)
            assert own.runtime.cancelled == 1
            assert not await remote.cancel(detached.job_id)


async def test_nodes_are_shown_until_the_asker_closes(world, folder):
    seen = []
    with anyio.fail_after(10):
        async with controlled(world, folder) as (remote, _, other), anyio.create_task_group() as tasks:

            async def watch() -> None:
                await remote.watch_nodes(seen.append, peers=(), arch=None)

            tasks.start_soon(watch)
            await until(lambda: seen != [])
            tasks.cancel_scope.cancel()
    assert seen[0].peer == other.peer
    assert seen[0].description is not None
    assert seen[0].description.runtimes == ("scripted",)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda remote: remote.result("0" * 32, wait=True, report=ignore), UnknownJob),
        (lambda remote: remote.cancel("0" * 32), UnknownJob),
        (lambda remote: remote.submit(submission(), report=ignore, **ASK | {"peers": ("x",)}), InvalidAddress),
        (lambda remote: remote.submit(submission(cpu_cores=9), report=ignore, **ASK | {"look_seconds": 0.1}), NoNode),
        (lambda remote: remote.execute(submission(cpu_cores=9)), NotExecuted),
        (lambda remote: remote.execute(replace(submission(), module=b"another")), NodeAnswered),
        (lambda remote: remote.execute(replace(submission(stdin=b"x" * 70_000), stdin=b"y" * 70_000)), NotExecuted),
    ],
)
async def test_what_fails_at_the_node_fails_the_same_way_at_the_asker(world, folder, ask, error):
    with anyio.fail_after(10):
        async with controlled(world, folder) as (remote, _, _):
            with pytest.raises(error) as caught:
                await ask(remote)
            assert str(caught.value).isprintable()
            assert await remote.alive()


async def test_a_result_that_is_not_there_yet_says_so(world, folder):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with controlled(world, folder, {ECHO: hangs(started=running)}) as (remote, _, _):
            detached = await remote.detach(submission(), report=ignore, **ASK)
            with pytest.raises(AttemptFailed, match="NotFinished"):
                await remote.result(detached.job_id, wait=False, report=ignore)


async def test_an_asker_that_goes_away_cancels_what_it_asked_for(world, folder):
    running = anyio.Event()
    with anyio.fail_after(10):
        async with controlled(world, folder, {ECHO: hangs(started=running)}) as (remote, own, _):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(remote.execute, submission())
                await running.wait()
                tasks.cancel_scope.cancel()
            await until(lambda: own.runtime.cancelled == 1)
            await until(lambda: own.node.worker._queue.held == {})
            assert await remote.alive()


async def test_the_socket_is_for_its_owner_alone_and_gone_with_the_node(world, folder):
    async with controlled(world, folder):
        facts = (folder / SOCKET_NAME).stat()
        assert stat.S_ISSOCK(facts.st_mode)
        assert stat.S_IMODE(facts.st_mode) == 0o600
    assert [*folder.iterdir()] == []


async def test_a_home_whose_path_is_longer_than_a_socket_address_works_too(world, tmp_path):
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    assert len(os.fsencode(folder / SOCKET_NAME)) > 108
    with anyio.fail_after(10):
        async with controlled(world, folder) as (remote, _, _):
            assert stat.S_IMODE((folder / SOCKET_NAME).stat().st_mode) == 0o600
            assert (await remote.execute(submission(stdin=b"in"))).stdout == b"in"
    assert [*folder.iterdir()] == []


async def test_finding_the_socket_leaves_no_descriptor_open(tmp_path):
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with control_address(folder) as address:
            assert len(os.fsencode(address)) <= 108
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_socket_that_a_dead_node_left_is_replaced(world, folder):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(folder / SOCKET_NAME))
    left.close()
    with anyio.fail_after(10):
        assert not await RemoteJobs(folder).alive()
        async with controlled(world, folder) as (remote, _, _):
            assert await remote.alive()


@pytest.mark.parametrize("what", ["file", "folder", "link", "dangling link"])
async def test_something_else_in_the_way_is_left_alone_and_named(folder, what):
    path = folder / SOCKET_NAME
    if what == "file":
        path.write_text("precious")
    elif what == "folder":
        path.mkdir()
    else:
        target = folder / "target"
        if what == "link":
            target.write_text("precious")
        path.symlink_to(target)
    before = path.lstat()
    with pytest.raises(ControlSocketTaken, match="in the way") as caught:
        async with serve_control(folder, OpenJobs(), LOG):
            raise AssertionError("it was made")
    assert str(path) in str(caught.value)
    assert path.lstat() == before


async def test_without_a_home_there_is_no_socket():
    async with serve_control(None, OpenJobs(), LOG):
        pass


async def test_where_no_node_runs_the_asker_is_told_so(folder):
    remote = RemoteJobs(folder)
    assert not await remote.alive()
    with pytest.raises(NodeGone) as caught:
        await remote.jobs()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff" * 100,
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x10",
        b"GET / HTTP/1.1\r\n\r\n" * 10,
        encode_frame(b"\x91" * 100_000),
        encode_frame(msgspec.msgpack.encode({"type": "\x1b[2J\n"})),
        encode_frame(msgspec.msgpack.encode({"type": "AskJobs"}))[:-1],
        encode_frame(msgspec.msgpack.encode({"type": "Piece", "data": b"x"})),
    ],
)
async def test_garbage_on_it_harms_nobody_and_leaves_a_clean_log(world, folder, caplog, said):
    with anyio.fail_after(10):
        async with controlled(world, folder) as (remote, _, _):
            async with await anyio.connect_unix(folder / SOCKET_NAME) as stream:
                if said:
                    await stream.send(said)
                await stream.send_eof()
                try:
                    while True:
                        await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    pass
            assert (await remote.execute(submission(stdin=b"in"))).stdout == b"in"
    assert all(record.getMessage().isprintable() and record.exc_info is None for record in caplog.records)


async def test_another_version_is_told_which_one_is_spoken(world, folder):
    with anyio.fail_after(10):
        async with controlled(world, folder), await anyio.connect_unix(folder / SOCKET_NAME) as stream:
            await stream.send(encode_frame(msgspec.msgpack.encode({"type": "AskJobs", "version": 2})))
            assert b"speaks version 1" in await stream.receive()


async def test_a_node_that_stops_while_it_is_asked_is_reported_gone(world, folder):
    running, gone = anyio.Event(), []

    async def ask(remote) -> None:
        try:
            await remote.execute(submission())
        except NodeGone as error:
            gone.append(error)

    with anyio.fail_after(10):
        async with (
            anyio.create_task_group() as tasks,
            controlled(world, folder, {ECHO: hangs(started=running)}) as (remote, _, _),
        ):
            tasks.start_soon(ask, remote)
            await running.wait()
    assert len(gone) == 1
    assert str(gone[0]).isprintable()


async def test_an_asker_that_reads_nothing_holds_up_nobody(world, folder):
    with anyio.fail_after(10):
        async with (
            controlled(world, folder) as (remote, _, _),
            await anyio.connect_unix(folder / SOCKET_NAME) as stream,
        ):
            await stream.send(encode_frame(msgspec.msgpack.encode({"type": "AskNodes"})))
            for number in range(5):
                assert (await remote.execute(submission(args=[str(number)]))).stdout == b""
