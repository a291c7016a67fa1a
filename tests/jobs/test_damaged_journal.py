"""A journal with a job that cannot be read is reported in one line, and what is whole in it is left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import msgspec
import pytest

from plasm.jobs.journal import open_journal
from plasm.jobs.records import DONE, Accepted, Ending, JournalUnusable
from plasm.shares import origin_of
from tests.jobs.world import ECHO, submission

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
