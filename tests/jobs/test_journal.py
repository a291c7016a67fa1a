"""The journal: what is accepted is there after a restart, and nothing is kept longer or larger than promised."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec
import pytest

from plasm.jobs.journal import Journal, open_journal
from plasm.jobs.outputs import table_of
from plasm.jobs.records import (
    CANCELLED,
    DONE,
    FAILED,
    OWN,
    QUEUED,
    RUNNING,
    TRANSFERRING,
    Accepted,
    Ending,
    JournalUnusable,
)
from plasm.ports import PeerId
from plasm.shares import origin_of
from plasm.testing import FakeSigner
from tests.jobs.world import submission

pytestmark = pytest.mark.anyio

CLIENT = FakeSigner(2).peer


def accepted(number: int = 1, *, state: str = QUEUED, at: float | None = None) -> Accepted:
    submitted = submission(args=[str(number)])
    return Accepted(
        id=f"{number:032x}",
        client=CLIENT,
        origin=origin_of(None, CLIENT),
        nonce=bytes(16),
        job=submitted.job,
        digest=submitted.job.digest(),
        module_size=7,
        input_size=2,
        runtime="scripted",
        accepted=time.time() if at is None else at,
        state=state,
    )


def done(stdout: bytes = b"out") -> Ending:
    return Ending(
        state=DONE,
        verdict="exited",
        exit_code=0,
        outputs={"stdout": stdout, "stderr": b"err"},
        receipt=b"{}",
        detail="d",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


async def test_an_accepted_job_is_there_after_reopening_with_all_that_it_needs(path):
    job = accepted()
    async with open_journal(path) as journal:
        await journal.accept(job, b"in")
    async with open_journal(path) as journal:
        assert await journal.unfinished() == [job]
        assert await journal.input(job.id) == b"in"
        assert await journal.ending(job.id) is None


async def test_a_result_is_there_after_reopening(path):
    async with open_journal(path) as journal:
        await journal.accept(accepted(), None)
        await journal.ended(accepted().id, done())
    async with open_journal(path) as journal:
        assert await journal.ending(accepted().id) == done()
        assert await journal.unfinished() == []


async def test_the_input_of_a_job_that_has_ended_is_dropped(path):
    async with open_journal(path) as journal:
        await journal.accept(accepted(), b"a secret")
        await journal.ended(accepted().id, done())
        assert await journal.input(accepted().id) == b""


async def test_a_job_in_memory_goes_the_same_way():
    async with open_journal(None) as journal:
        await journal.accept(accepted(state=TRANSFERRING), None)
        await journal.supplied(accepted().id, b"in")
        assert [each.state for each in await journal.unfinished()] == [QUEUED]
        assert await journal.input(accepted().id) == b"in"


async def test_input_that_came_with_the_offer_is_kept_when_the_module_arrives():
    async with open_journal(None) as journal:
        await journal.accept(accepted(state=TRANSFERRING), b"in")
        await journal.supplied(accepted().id, None)
        assert await journal.input(accepted().id) == b"in"


async def test_starts_are_counted_over_all_lives(path):
    async with open_journal(path) as journal:
        await journal.accept(accepted(), None)
        assert await journal.started(accepted().id) == 1
    async with open_journal(path) as journal:
        assert [(each.state, each.attempts) for each in await journal.unfinished()] == [(RUNNING, 1)]
        assert await journal.started(accepted().id) == 2


@pytest.mark.parametrize("second", [Ending(state=CANCELLED), Ending(state=FAILED), done(b"another")])
async def test_the_first_ending_wins(second):
    async with open_journal(None) as journal:
        await journal.accept(accepted(), None)
        await journal.ended(accepted().id, done())
        await journal.ended(accepted().id, second)
        assert await journal.ending(accepted().id) == done()


@pytest.mark.parametrize("ending", [done(), Ending(state=CANCELLED, detail="why")], ids=lambda ending: ending.state)
async def test_accepting_again_what_is_done_or_cancelled_gives_its_ending_and_changes_nothing(ending):
    async with open_journal(None) as journal:
        assert await journal.accept(accepted(), None) is None
        await journal.ended(accepted().id, ending)
        assert await journal.accept(accepted(), b"other") == ending
        assert await journal.ending(accepted().id) == ending
        assert await journal.unfinished() == []


async def test_a_job_that_failed_can_be_accepted_anew():
    async with open_journal(None) as journal:
        await journal.accept(accepted(), None)
        await journal.started(accepted().id)
        await journal.ended(accepted().id, Ending(state=FAILED))
        assert await journal.accept(accepted(), b"in") is None
        assert [(each.state, each.attempts) for each in await journal.unfinished()] == [(QUEUED, 0)]
        assert await journal.input(accepted().id) == b"in"


async def test_unfinished_jobs_come_oldest_first(path):
    async with open_journal(path) as journal:
        for number in (3, 1, 2):
            await journal.accept(accepted(number, at=float(number)), None)
        assert [each.accepted for each in await journal.unfinished()] == [1, 2, 3]


async def test_jobs_are_listed_newest_first_and_no_more_than_asked_for(path):
    async with open_journal(path) as journal:
        for number in range(5):
            await journal.accept(accepted(number, at=float(number)), None)
        assert [each.accepted for each in await journal.listed(3)] == [4, 3, 2]


async def test_writes_that_arrive_together_share_a_transaction(path):
    async with open_journal(path) as journal:
        began = []
        journal._database._connection.set_trace_callback(
            lambda text: began.append(text) if text.startswith("BEGIN") else None
        )
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(journal.accept, accepted(number), None)
        assert len(await journal.unfinished()) == 200
        assert len(began) < 100


async def test_a_write_that_fails_alone_spoils_none_of_those_beside_it():
    problems = []
    async with open_journal(None) as journal:

        async def spoiled() -> None:
            try:
                await journal.accept(replace(accepted(5), client=None), None)  # type: ignore[arg-type]
            except JournalUnusable as error:
                problems.append(error)

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(journal.accept, accepted(number), None)
            tasks.start_soon(spoiled)
            for number in range(6, 10):
                tasks.start_soon(journal.accept, accepted(number), None)
        assert len(problems) == 1
        assert len(await journal.unfinished()) == 9


async def test_a_value_that_cannot_be_stored_fails_its_own_write_and_no_other():
    with anyio.fail_after(10):
        async with open_journal(None) as journal:
            await journal.accept(accepted(), None)
            with pytest.raises(JournalUnusable):
                await journal.ended(accepted().id, Ending(state=FAILED, detail="\ud800"))
            await journal.ended(accepted().id, done())
            assert await journal.ending(accepted().id) == done()


async def test_closing_commits_what_is_pending(path):
    go_on = threading.Event()
    async with open_journal(path) as journal, anyio.create_task_group() as tasks:
        # The thread that commits is kept busy meanwhile.
        tasks.start_soon(journal._database.read, lambda database: go_on.wait(10))
        for number in range(50):
            tasks.start_soon(journal.accept, accepted(number), None)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        go_on.set()
    async with open_journal(path) as journal:
        assert len(await journal.unfinished()) == 50


async def test_a_closed_journal_says_so():
    async with open_journal(None) as journal:
        pass
    with pytest.raises(JournalUnusable, match="closed"):
        await journal.accept(accepted(), None)


async def test_a_sweep_forgets_results_whose_time_is_over():
    async with open_journal(None) as journal:
        for number in (1, 2):
            await journal.accept(accepted(number), None)
        await journal.ended(accepted(1).id, done())
        assert await journal.sweep(60) == []
        assert await journal.sweep(-1) == [accepted(1).id]
        assert [each.id for each in await journal.listed()] == [accepted(2).id]


async def test_who_has_a_job_accepted_does_not_wait_for_a_long_sweep():
    async with open_journal(None) as journal:
        for number in range(600):
            await journal.accept(accepted(number), None)
            await journal.ended(accepted(number).id, done())
        ended = []

        async def sweep() -> None:
            gone = await journal.sweep(-1)
            ended.append(len(gone))

        async def accept() -> None:
            await journal.accept(accepted(1000), None)
            ended.append("accepted")

        go_on = threading.Event()
        async with anyio.create_task_group() as tasks:
            # The thread that writes is kept busy until both have asked.
            tasks.start_soon(journal._database.read, lambda database: go_on.wait(10))
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(sweep)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(accept)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        assert ended == ["accepted", 600]


async def kept(journal: Journal, numbers: range) -> list[int]:
    return [number for number in numbers if await journal.ending(accepted(number).id) is not None]


@pytest.mark.parametrize("way", ["ended", "completed"])
async def test_room_for_a_result_is_made_before_it_is_written(way):
    async with open_journal(None, max_kept_bytes=2500) as journal:
        for number in range(10):
            if way == "ended":
                await journal.accept(accepted(number), None)
                await journal.ended(accepted(number).id, done(bytes(1000)))
            else:
                assert await journal.completed(accepted(number), done(bytes(1000))) is None
            rows = journal._database._connection.execute("SELECT SUM(held) FROM jobs").fetchone()
            assert rows[0] == journal.held_bytes <= 2500
        assert await kept(journal, range(10)) == [8, 9]
        assert not journal.knows(accepted(0).id)


async def test_what_results_that_end_together_take_beyond_the_bound_is_free_after_the_next_one():
    async with open_journal(None, max_kept_bytes=3500) as journal:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(journal.completed, accepted(number), done(bytes(1000)))
        await journal.completed(accepted(20), done(bytes(1000)))
        assert journal.held_bytes <= 3500


async def test_a_single_result_above_the_bound_is_kept_until_the_next_one():
    async with open_journal(None, max_kept_bytes=10) as journal:
        for number in range(3):
            await journal.accept(accepted(number), None)
            await journal.ended(accepted(number).id, done(bytes(1000)))
            assert await kept(journal, range(3)) == [number]


async def test_the_room_is_taken_from_the_network_that_holds_most():
    greedy, modest = origin_of("192.0.2.1", "a"), origin_of("198.51.100.1", "b")
    async with open_journal(None, max_kept_bytes=5100) as journal:
        await journal.completed(replace(accepted(1), origin=modest), done(bytes(1000)))
        for number in range(2, 20):
            # Another identity each time.
            origin = greedy._replace(peer=f"p{number}")
            await journal.completed(replace(accepted(number), origin=origin, client=origin.peer), done(bytes(1000)))
        assert await kept(journal, range(1, 20)) == [1, 16, 17, 18, 19]


async def test_who_holds_how_much_is_known_again_after_a_restart(path):
    greedy, modest = origin_of("192.0.2.1", "a"), origin_of("198.51.100.1", "b")
    async with open_journal(path) as journal:
        await journal.completed(replace(accepted(0), origin=modest, client=PeerId("b")), done(bytes(1000)))
        for number in range(1, 5):
            await journal.completed(replace(accepted(number), origin=greedy, client=PeerId("a")), done(bytes(1000)))
    async with open_journal(path, max_kept_bytes=5000) as journal:
        assert journal.held_bytes == 5 * 1005
        await journal.completed(replace(accepted(5), origin=modest, client=PeerId("b")), done(bytes(1000)))
        assert await kept(journal, range(6)) == [0, 3, 4, 5]


async def test_results_of_the_nodes_own_user_give_way_last():
    async with open_journal(None, max_kept_bytes=3100) as journal:
        for number in range(2):
            await journal.completed(replace(accepted(number), origin=OWN), done(bytes(1000)))
        for number in range(2, 9):
            await journal.completed(accepted(number), done(bytes(1000)))
        assert await kept(journal, range(9)) == [0, 1, 8]


async def test_the_number_of_ended_jobs_that_are_remembered_has_a_bound():
    async with open_journal(None, max_ended=3) as journal:
        for number in range(5):
            await journal.accept(accepted(number), None)
        for number in range(4):
            await journal.ended(accepted(number).id, Ending(state=CANCELLED))
        assert await kept(journal, range(5)) == [1, 2, 3]
        assert len(await journal.unfinished()) == 1


async def test_what_cannot_be_deleted_counts_on(path):
    async with open_journal(path, max_kept_bytes=1500) as journal:
        await journal.completed(accepted(1), done(bytes(1000)))
        journal._database._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(JournalUnusable):
            await journal.completed(accepted(2), done(bytes(1000)))
        journal._database._connection.execute("PRAGMA query_only = 0")
        assert journal.held_bytes == 1005
        assert journal.knows(accepted(1).id)
        assert not journal.knows(accepted(2).id)
        await journal.completed(accepted(2), done(bytes(1000)))
        assert await kept(journal, range(3)) == [2]


async def test_the_file_shrinks_once_results_have_gone(path):
    async with open_journal(path) as journal:
        for number in range(640):
            await journal.completed(accepted(number), done(bytes(50_000)))
        before = path.stat().st_size
        await journal.sweep(-1)
        journal._database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert before > 30 * 2**20
        assert path.stat().st_size < 9 * 2**20


async def test_a_bounded_journal_has_a_bounded_file_without_any_sweep(path):
    async with open_journal(path, max_kept_bytes=8 * 2**20) as journal:
        for number in range(600):
            await journal.completed(accepted(number), done(bytes(50_000)))
        sizes = {each.name: each.stat().st_size for each in path.parent.iterdir()}
    assert sum(sizes.values()) < 24 * 2**20, sizes


@pytest.mark.parametrize("ending", [Ending(state=CANCELLED), Ending(state=FAILED), done()])
async def test_a_job_that_has_ended_leaves_neither_its_arguments_nor_its_input(path, ending):
    async with open_journal(path) as journal:
        await journal.accept(accepted(), b"in")
        await journal.ended(accepted().id, ending)
        left = journal._database._connection.execute("SELECT length(job), length(input) FROM jobs").fetchone()
    assert left == (0, None)


async def test_large_output_is_left_out_of_an_ending_where_it_is_not_wanted():
    async with open_journal(None) as journal:
        await journal.accept(accepted(), None)
        await journal.ended(accepted().id, done(bytes(100)))
        assert await journal.ending(accepted().id, 102) == done(bytes(100)).without_much(102)
        assert (await journal.ending(accepted().id, 102)).left_out == 103
        assert await journal.ending(accepted().id, 103) == done(bytes(100))


V1 = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, nonce BLOB NOT NULL, digest TEXT NOT NULL, job BLOB NOT NULL,
    module TEXT NOT NULL, module_size INTEGER NOT NULL, input_size INTEGER NOT NULL, input BLOB, runtime TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, accepted REAL NOT NULL, finished REAL,
    verdict TEXT, exit_code INTEGER, outputs BLOB, output_table BLOB, receipt BLOB, detail TEXT NOT NULL DEFAULT '',
    held INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_by_state ON jobs (state, accepted);
PRAGMA user_version = 1;
"""


async def test_a_journal_of_the_first_format_goes_on(path):
    waits, ended = accepted(1), accepted(2)
    with sqlite3.connect(path) as database:
        database.executescript(f"PRAGMA journal_mode = WAL; {V1}")
        for job, state in ((waits, QUEUED), (ended, DONE)):
            over = state == DONE
            database.execute(
                "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, 7, 2, ?, 'scripted', ?, 0, ?, ?, ?, 0, ?, ?, ?, 'd', ?)",
                (
                    job.id,
                    job.client,
                    job.nonce,
                    job.digest,
                    msgspec.msgpack.encode(job.job),
                    job.job.manifest.module_hash,
                    None if over else b"in",
                    state,
                    job.accepted,
                    1.0 if over else None,
                    "exited" if over else None,
                    b"outerr" if over else None,
                    msgspec.msgpack.encode(table_of(done().outputs)) if over else None,
                    b"{}" if over else None,
                    8 if over else 0,
                ),
            )
    database.close()
    async with open_journal(path) as journal:
        # Its sender's address was not recorded: each client counts as a network.
        assert await journal.unfinished() == [waits]
        assert await journal.input(waits.id) == b"in"
        # Whatever the wall clock says of when it was.
        assert await journal.sweep(60) == []
        assert await journal.ending(ended.id) == done()
        assert journal._kept.held_bytes == 8
        await journal.ended(waits.id, done())
        await journal.sweep(-1)
        assert journal._database._connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


async def test_the_file_is_for_its_owner_alone(path):
    async with open_journal(path) as journal:
        await journal.accept(accepted(), b"in")
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes.pop("job-files") == 0o700
    assert set(modes.values()) == {0o600}, modes


async def test_the_file_is_private_before_anything_is_written_to_it(path, monkeypatch):
    modes = []

    def connect(*args: object, **keywords: object) -> sqlite3.Connection:
        modes.append(stat.S_IMODE(path.stat().st_mode))
        raise sqlite3.OperationalError("seen enough")

    monkeypatch.setattr("plasm.jobs.database.sqlite3.connect", connect)
    with pytest.raises(JournalUnusable, match="seen enough"):
        async with open_journal(path):
            raise AssertionError("it was opened")
    assert modes == [0o600]


async def test_a_link_in_place_of_the_journal_is_refused_and_what_it_leads_to_left_alone(path):
    other = path.parent / "other"
    other.touch(mode=0o644)
    path.symlink_to(other)
    with pytest.raises(JournalUnusable, match=r"journal\.sqlite"):
        async with open_journal(path):
            raise AssertionError("it was opened")
    assert stat.S_IMODE(other.stat().st_mode) == 0o644
    assert other.read_bytes() == b""


async def test_a_journal_of_a_newer_plasm_is_refused_and_left_alone(path):
    async with open_journal(path) as journal:
        await journal.accept(accepted(), None)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(JournalUnusable, match="newer Plasm") as caught:
        async with open_journal(path):
            raise AssertionError("it was opened")
    assert caught.value.mend
    database = sqlite3.connect(path)
    assert database.execute("SELECT COUNT(*) FROM jobs").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize("spoil", ["a folder", "other bytes", "no folder"])
async def test_a_file_that_is_no_journal_is_refused_in_one_line(path, spoil):
    if spoil == "a folder":
        path.mkdir()
    elif spoil == "other bytes":
        path.write_bytes(b"not a database, by any means, and long enough to be looked at" * 100)
    else:
        path = path / "missing" / "journal.sqlite"
    with pytest.raises(JournalUnusable) as caught:
        async with open_journal(path):
            raise AssertionError("it was opened")
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


async def test_a_journal_that_cannot_be_written_any_more_says_so_in_one_line(path):
    async with open_journal(path) as journal:
        await journal.accept(accepted(1), None)
        journal._database._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(JournalUnusable, match="cannot be written") as caught:
            await journal.accept(accepted(2), None)
        assert str(caught.value).isprintable()
        journal._database._connection.execute("PRAGMA query_only = 0")
        await journal.accept(accepted(2), None)
        assert len(await journal.unfinished()) == 2


CHILD = """
    import os, sys, time
    import anyio
    from pathlib import Path
    from plasm.jobs.journal import open_journal
    from tests.jobs.test_journal import accepted

    async def main():
        async with open_journal(Path(sys.argv[1])) as journal:
            async def one(number):
                await journal.accept(accepted(number), b"in")
                os.write(1, accepted(number).id.encode() + b"\\n")
            number = 0
            while True:
                async with anyio.create_task_group() as tasks:
                    for _ in range(5):
                        tasks.start_soon(one, number)
                        number += 1

    anyio.run(main)
"""


def told_by_a_process_that_is_killed(path: Path, program: str = CHILD, least: int = 60) -> list[str]:
    """The lines that a child printed, each after it had done what it says, until it was killed in the middle of it."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(least)]
        child.kill()
        told += child.stdout.readlines()
    finally:
        child.kill()
        child.wait(10)
        child.stdout.close()
    return [line.decode().strip() for line in told if line.endswith(b"\n")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_a_killed_process_had_accepted_is_all_there(path):
    promised = set(await anyio.to_thread.run_sync(told_by_a_process_that_is_killed, path))
    assert len(promised) >= 60
    async with open_journal(path) as journal:
        unfinished = {each.id for each in await journal.unfinished()}
        assert promised <= unfinished
        assert {await journal.input(each) for each in promised} == {b"in"}
