"""What a block raises is what its caller catches, also where tasks run beside the block."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from plasm.control.server import serve_control
from plasm.errors import leaves, ungrouped
from plasm.jobs.finding import finding, topics_for
from plasm.jobs.journal import open_journal
from plasm.jobs.records import JournalUnusable
from plasm.jobservice import OpenJobs
from plasm.testing import StaticDirectory, StaticDiscovery
from tests.jobs.world import LOG

pytestmark = pytest.mark.anyio


def _journal(world):
    return open_journal(None)


def _finding(world):
    return finding({"static": StaticDiscovery(StaticDirectory(), "peer")}, topics_for(["scripted"], None), LOG)


def _node(world):
    return world.node()


@asynccontextmanager
async def _control(world):
    folder = world.folder / "home"
    folder.mkdir(mode=0o700)
    async with serve_control(folder, OpenJobs(), LOG):
        yield


def _client(world):
    return world.client()


OPENED = [_journal, _finding, _node, _control, _client]


@pytest.mark.parametrize("opened", OPENED)
@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()], ids=["an error", "ctrl-c"])
async def test_a_single_exception_comes_out_of_the_block_bare(world, opened, error):
    with anyio.fail_after(5), pytest.raises(type(error)) as caught:
        async with opened(world):
            raise error
    assert caught.value is error


@pytest.mark.parametrize("opened", OPENED)
async def test_what_is_raised_once_the_tasks_beside_the_block_are_at_work_comes_out_bare(world, opened):
    with anyio.fail_after(5), pytest.raises(ValueError, match="mine"):
        async with opened(world):
            await anyio.wait_all_tasks_blocked()
            raise ValueError("mine")


@pytest.mark.parametrize("opened", [each for each in OPENED if each is not _client])
async def test_an_exception_of_one_task_of_the_block_comes_out_bare_beside_others_that_were_cancelled(world, opened):
    async def fail() -> None:
        raise ValueError("mine")

    with anyio.fail_after(5), pytest.raises(ValueError, match="mine"):
        async with opened(world), anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            tasks.start_soon(fail)


@pytest.mark.parametrize("opened", OPENED)
async def test_several_exceptions_stay_together(world, opened):
    errors = [ValueError("one"), KeyError("other")]
    with anyio.fail_after(5), pytest.raises(ExceptionGroup) as caught:
        async with opened(world):
            raise ExceptionGroup("both", errors)
    assert list(leaves(caught.value)) == errors


@pytest.mark.parametrize("opened", OPENED)
async def test_cancelling_a_block_is_no_error(world, opened):
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with opened(world):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_journal_that_cannot_be_opened_is_told_bare_by_the_node(world):
    home = world.home("node")
    (home.folder() / "journal.sqlite").write_bytes(b"no database" * 1000)
    with anyio.fail_after(5), pytest.raises(JournalUnusable):
        async with world.node(home=home):
            raise AssertionError("it was opened")


def _raised(error: BaseException) -> BaseException:
    with pytest.raises(BaseException) as caught, ungrouped():
        raise error
    return caught.value


def test_a_group_of_groups_of_one_is_that_one():
    error = ValueError("mine")
    assert _raised(ExceptionGroup("outer", [ExceptionGroup("inner", [error])])) is error


def test_the_cause_of_an_exception_is_kept():
    error, cause = ValueError("mine"), OSError("why")
    error.__cause__ = cause
    assert _raised(ExceptionGroup("one", [error])).__cause__ is cause


def test_what_is_no_group_is_left_alone():
    error = ValueError("mine")
    assert _raised(error) is error
    with ungrouped():
        pass


@pytest.mark.parametrize("nested", [False, True])
def test_a_group_of_several_is_left_alone(nested):
    errors: list[Exception] = [ValueError(), KeyError()]
    group = ExceptionGroup("both", [ExceptionGroup("inner", errors)] if nested else errors)
    assert _raised(group) is group
