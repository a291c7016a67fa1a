"""Inputs and outputs that stand in files beside the journal."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio.to_thread
import msgspec
import pytest

from plasm.jobs.jobfiles import ROW_BYTES
from plasm.jobs.journal import Journal, open_journal
from plasm.jobs.outputs import joined, table_of
from plasm.jobs.records import CANCELLED, FAILED, QUEUED, TRANSFERRING, Accepted, Ending, JournalUnusable
from tests.jobs.test_journal import accepted, done, told_by_a_process_that_is_killed

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * (ROW_BYTES // 256) + b"and a little more"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def files(path: Path) -> list[Path]:
    return sorted((path.parent / "job-files").iterdir())


def in_the_row(journal: Journal, column: str) -> int | None:
    row = journal._database._connection.execute(f"SELECT length({column}) FROM jobs").fetchone()
    length: int | None = row[0]
    return length


def transferring(number: int = 1, size: int = len(LARGE)) -> Accepted:
    return replace(accepted(number), state=TRANSFERRING, input_size=size)


async def supplied(journal: Journal, number: int = 1) -> None:
    """A job whose large input has come."""
    await journal.accept(transferring(number), None)
    await journal.supplied(accepted(number).id, LARGE)


async def test_large_outputs_stand_in_a_file_and_come_back_whole(path):
    async with open_journal(path) as journal:
        await journal.completed(accepted(), done(LARGE))
        assert [each.read_bytes() for each in files(path)] == [LARGE + b"err"]
        assert in_the_row(journal, "outputs") is None
        assert await journal.ending(accepted().id) == done(LARGE)


async def test_small_outputs_stand_in_their_row(path):
    async with open_journal(path) as journal:
        await journal.completed(accepted(), done(bytes(ROW_BYTES - 3)))
        assert files(path) == []
        assert await journal.ending(accepted().id) == done(bytes(ROW_BYTES - 3))


async def test_large_outputs_are_left_out_of_an_ending_without_a_look_at_their_file(path):
    async with open_journal(path) as journal:
        await journal.completed(accepted(), done(LARGE))
        files(path)[0].unlink()
        assert await journal.ending(accepted().id, ROW_BYTES) == done(LARGE).without_much(ROW_BYTES)


async def test_a_large_input_stands_in_a_file_until_its_job_has_ended(path):
    async with open_journal(path) as journal:
        await supplied(journal)
        assert [each.read_bytes() for each in files(path)] == [LARGE]
        assert await journal.input(accepted().id) == LARGE
        await journal.ended(accepted().id, done())
        assert files(path) == []


async def test_what_stands_in_files_is_there_after_a_restart(path):
    async with open_journal(path) as journal:
        await journal.completed(accepted(1), done(LARGE))
        await supplied(journal, 2)
    async with open_journal(path) as journal:
        assert await journal.ending(accepted(1).id) == done(LARGE)
        assert await journal.input(accepted(2).id) == LARGE
        assert journal.held_bytes == len(LARGE) + 5


async def test_a_forgotten_result_leaves_no_file(path):
    async with open_journal(path, max_kept_bytes=len(LARGE) + 100) as journal:
        for number in range(3):
            await journal.completed(accepted(number), done(LARGE))
            assert len(files(path)) == 1
        await journal.sweep(-1)
        assert files(path) == []


async def test_an_ending_that_comes_second_leaves_no_file(path):
    async with open_journal(path) as journal:
        await journal.accept(accepted(), None)
        await journal.ended(accepted().id, Ending(state=CANCELLED))
        await journal.ended(accepted().id, done(LARGE))
        assert await journal.completed(accepted(), done(LARGE)) == Ending(state=CANCELLED)
        assert files(path) == []


async def test_an_input_that_comes_after_its_job_was_cancelled_leaves_no_file(path):
    async with open_journal(path) as journal:
        await journal.accept(transferring(), None)
        await journal.ended(accepted().id, Ending(state=CANCELLED))
        await journal.supplied(accepted().id, LARGE)
        assert files(path) == []


@pytest.mark.parametrize("how", ["completed", "ended", "supplied"])
async def test_a_row_that_cannot_be_written_leaves_no_file(path, how):
    async with open_journal(path) as journal:
        if how != "completed":
            await journal.accept(transferring(), None)
        journal._database._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(JournalUnusable):
            match how:
                case "completed":
                    await journal.completed(accepted(), done(LARGE))
                case "ended":
                    await journal.ended(accepted().id, done(LARGE))
                case _:
                    await journal.supplied(accepted().id, LARGE)
        assert files(path) == []


async def test_a_file_that_cannot_be_written_fails_its_job_and_no_other(path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    async with open_journal(path) as journal:
        await journal.accept(accepted(1), None)
        with monkeypatch.context() as patched:
            patched.setattr("plasm.jobs.jobfiles._write", full)
            with pytest.raises(JournalUnusable, match="is full") as caught:
                await journal.ended(accepted(1).id, done(LARGE))
            assert caught.value.mend == "make room on it, and try again"
            await journal.completed(accepted(2), done())
        await journal.ended(accepted(1).id, done(LARGE))
        assert await journal.ending(accepted(1).id) == done(LARGE)


async def test_files_that_no_row_names_go_at_the_start_and_others_stay(path):
    async with open_journal(path) as journal:
        await journal.completed(accepted(), done(LARGE))
    (kept,) = files(path)
    left = kept.with_name(f"{accepted(7).id}-{'0' * 16}")
    left.write_bytes(b"half of wh")
    theirs = kept.with_name("notes.txt")
    theirs.write_text("of the operator")
    link = kept.with_name(f"{accepted(8).id}-{'0' * 16}")
    link.symlink_to(theirs)
    async with open_journal(path):
        assert files(path) == sorted([kept, theirs, link])
        assert theirs.read_text() == "of the operator"


@pytest.mark.parametrize("damage", [os.unlink, lambda file: os.truncate(file, 10)])
async def test_a_result_whose_file_a_power_cut_took_is_run_again_when_it_is_asked_for(
    path: Path, damage: Callable[[Path], None]
) -> None:
    async with open_journal(path) as journal:
        await journal.completed(accepted(1), done(LARGE))
        await journal.completed(accepted(2), done(b"small"))
    damage(files(path)[0])
    async with open_journal(path) as journal:
        lost = await journal.ending(accepted(1).id)
        assert lost == Ending(
            state=FAILED, detail="its output was lost, as in a power cut: have it run again", left_out=0
        )
        assert await journal.ending(accepted(2).id) == done(b"small")
        assert journal.held_bytes == 10
        assert await journal.accept(accepted(1), b"in") is None
        assert [each.id for each in await journal.unfinished()] == [accepted(1).id]


async def test_a_job_whose_input_a_power_cut_took_has_failed_and_may_be_offered_again(path):
    async with open_journal(path) as journal:
        await supplied(journal)
    files(path)[0].unlink()
    async with open_journal(path) as journal:
        assert await journal.unfinished() == []
        lost = await journal.ending(accepted().id)
        assert lost is not None
        assert (lost.state, lost.detail) == (FAILED, "its input was lost, as in a power cut: have it run again")
        await supplied(journal)
        assert await journal.input(accepted().id) == LARGE


async def test_a_file_that_goes_while_the_node_runs_is_an_error_that_says_so(path):
    async with open_journal(path) as journal:
        await journal.completed(accepted(1), done(LARGE))
        await supplied(journal, 2)
        for file in files(path):
            file.unlink()
        with pytest.raises(JournalUnusable, match="whose file is missing"):
            await journal.ending(accepted(1).id)
        with pytest.raises(JournalUnusable, match="not as it was written"):
            await journal.input(accepted(2).id)


async def test_files_are_for_their_owner_alone(path):
    async with open_journal(path) as journal:
        await journal.completed(accepted(), done(LARGE))
        assert stat.S_IMODE((path.parent / "job-files").stat().st_mode) == 0o700
        assert {stat.S_IMODE(each.stat().st_mode) for each in files(path)} == {0o600}


async def test_a_journal_in_memory_keeps_everything_in_its_rows():
    async with open_journal(None) as journal:
        await journal.completed(accepted(1), done(LARGE))
        await supplied(journal, 2)
        assert await journal.ending(accepted(1).id) == done(LARGE)
        assert await journal.input(accepted(2).id) == LARGE


async def test_what_a_journal_of_the_second_format_has_in_rows_stays_readable(path):
    async with open_journal(path) as journal:
        await journal.completed(accepted(1), done(b"small"))
        await journal.accept(accepted(2), b"in")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE jobs SET outputs = ?, output_table = ?, held = ? WHERE finished IS NOT NULL", row())
        database.execute("ALTER TABLE jobs DROP COLUMN input_file")
        database.execute("ALTER TABLE jobs DROP COLUMN output_file")
        database.execute("PRAGMA user_version = 2")
    database.close()
    async with open_journal(path) as journal:
        assert await journal.ending(accepted(1).id) == done(LARGE)
        assert [each.state for each in await journal.unfinished()] == [QUEUED]
        assert journal.held_bytes == len(LARGE) + 5


def row() -> tuple[bytes, bytes, int]:
    outputs = done(LARGE).outputs
    return joined(outputs), msgspec.msgpack.encode(table_of(outputs)), len(LARGE) + 5


CHILD = """
    import os, sys
    import anyio
    from pathlib import Path
    from plasm.jobs.journal import open_journal
    from tests.jobs.test_jobfiles import LARGE
    from tests.jobs.test_journal import accepted, done

    async def main():
        async with open_journal(Path(sys.argv[1]), max_kept_bytes=40 * len(LARGE)) as journal:
            for number in range(10_000):
                await journal.completed(accepted(number), done(LARGE))
                os.write(1, b"%d\\n" % number)

    anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_results_of_a_killed_process_are_whole_and_nothing_else_is_left(path):
    told = await anyio.to_thread.run_sync(told_by_a_process_that_is_killed, path, CHILD, 100)
    async with open_journal(path) as journal:
        for number in told[-30:]:
            assert await journal.ending(accepted(int(number)).id) == done(LARGE)
        ended = [each for each in await journal.listed() if each.state == "done"]
        assert len(files(path)) == len(ended) <= 40
