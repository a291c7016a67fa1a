"""A journal with a job that cannot be read is reported in one line, and what is whole in it is left alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest

from plasm.home import Home
from plasm.jobs.conversation import AttemptFailed
from plasm.jobs.journal import open_journal
from plasm.jobs.records import DONE, Accepted, Ending, JournalUnusable
from plasm.shares import origin_of
from plasm.testing import DictStore
from plasm.testing.fakes.scripts import hangs
from tests.jobs.world import ECHO, ignore, submission

pytestmark = pytest.mark.anyio

DAMAGES = {
    "no bytes at all": b"",
    "half a job": msgspec.msgpack.encode(submission().job)[:-3],
    "what is no message": b"\xc1",
    "something else": msgspec.msgpack.encode(["\x1b[2J\n", 1]),
    "a job with a field of another kind": msgspec.msgpack.encode({"manifest": 1, "stdin": "\x1b\n"}),
    "text": "text",
    "a number": 7,
}


def _accepted(number: int) -> Accepted:
    job = submission(args=[str(number)]).job
    return Accepted(
        id=f"{number:032x}",
        client="client",
        origin=origin_of(None, "client"),
        nonce=bytes(16),
        job=job,
        digest=job.digest(),
        module_size=len(ECHO),
        input_size=0,
        runtime="scripted",
        accepted=float(number),
    )


async def _damaged(path: Path, damage: object) -> None:
    async with open_journal(path) as journal:
        await journal.accept(_accepted(1), None)
        await journal.accept(_accepted(2), None)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE jobs SET job = ? WHERE id = ?", (damage, _accepted(1).id))
    database.close()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_job_that_cannot_be_decoded_is_told_in_one_line_with_what_mends_it(tmp_path, damage):
    path = tmp_path / "journal.sqlite"
    with anyio.fail_after(10):
        await _damaged(path, DAMAGES[damage])
        async with open_journal(path) as journal:
            with pytest.raises(JournalUnusable, match="cannot be read") as caught:
                await journal.unfinished()
            assert str(caught.value).isprintable()
            assert caught.value.mend
            assert len(await journal.listed()) == 2


async def test_a_node_does_not_start_on_a_journal_with_such_a_job_and_says_why(world):
    home = world.home("node")
    with anyio.fail_after(10):
        await _damaged(home.folder() / "journal.sqlite", b"\xc1")
        with pytest.raises(JournalUnusable) as caught:
            async with world.node(home=home):
                raise AssertionError("it was opened")
    assert str(caught.value).isprintable()


async def test_an_ending_that_cannot_be_read_costs_its_own_offer_an_error_and_nobody_else_anything(tmp_path):
    path = tmp_path / "journal.sqlite"
    with anyio.fail_after(10):
        async with open_journal(path) as journal:
            await journal.accept(_accepted(1), None)
            await journal.ended(_accepted(1).id, Ending(state=DONE, outputs={"stdout": b"!"}))
        with sqlite3.connect(path) as database:
            database.execute("UPDATE jobs SET output_table = x'c1'")
        database.close()
        async with open_journal(path) as journal:
            with pytest.raises(JournalUnusable, match="outputs that cannot be read"):
                await journal.accept(_accepted(1), None)
            assert await journal.accept(_accepted(2), None) is None


def _change_a_row(home: Home, column: str, change: Callable[[bytes], bytes]) -> None:
    path = home.folder() / "journal.sqlite"
    with sqlite3.connect(path) as database:
        (value,) = database.execute(f"SELECT {column} FROM jobs WHERE input_size > 0").fetchone()
        database.execute(f"UPDATE jobs SET {column} = ? WHERE input_size > 0", (change(value),))
    database.close()


def _change_the_input(home: Home) -> None:
    _change_a_row(home, "input", lambda value: b"?" + value[1:])


def _change_the_file_of_the_input(home: Home) -> None:
    (file,) = (home.folder() / "job-files").iterdir()
    file.write_bytes(b"?" + file.read_bytes()[1:])


def _change_the_arguments(home: Home) -> None:
    _change_a_row(home, "job", lambda value: value.replace(b"an argument", b"other words"))


@pytest.mark.parametrize(
    ("size", "change"),
    [
        (10, _change_the_input),
        (100_000, _change_the_file_of_the_input),
        (1_000_000, _change_the_file_of_the_input),
        (10, _change_the_arguments),
    ],
)
async def test_a_job_that_the_disk_changed_is_not_run_in_place_of_the_one_that_came(
    world, size: int, change: Callable[[Home], None]
) -> None:
    home, store, running = world.home("node"), DictStore(), anyio.Event()
    with anyio.fail_after(15):
        async with world.client() as client:
            async with world.node({ECHO: hangs(started=running)}, home=home, stores=[store], slots=1):
                await client.detach(submission(), name="first", report=ignore)
                await running.wait()
                job = submission(stdin=bytes(size), args=["an argument"])
                left = await client.detach(job, name="second", report=ignore)
            change(home)
            async with world.node(home=home, stores=[store]):
                with pytest.raises(AttemptFailed, match=r"not what was accepted.*have it run again"):
                    await client.result(left.job_id, wait=True, report=ignore)
                again = await client.submit(job, name="again", report=ignore)
                assert again.outputs["stdout"] == bytes(size)
