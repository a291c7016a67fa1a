"""A full disk is called that, wherever it is met, and nobody is told to give up what is on it."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path

import pytest

from plasm import diskspace
from plasm.checking.ledger import LedgerUnusable, open_ledger
from plasm.home import Home, HomeError
from plasm.jobs.journal import open_journal
from plasm.jobs.records import JournalUnusable
from tests.jobs.test_journal import accepted, done

ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def full(*args: object, **keywords: object) -> sqlite3.Connection:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["journal", "ledger"])
async def test_a_database_that_cannot_be_opened_for_want_of_room_says_so(tmp_path, monkeypatch, what):
    monkeypatch.setattr("plasm.jobs.database.sqlite3.connect", full)
    opened = open_journal(tmp_path / "x") if what == "journal" else open_ledger(tmp_path / "x", None)
    with pytest.raises((JournalUnusable, LedgerUnusable)) as caught:
        async with opened:
            raise AssertionError("it was opened")
    assert str(caught.value) == f"the disk of {tmp_path} is full; make room on it, and try again"


@pytest.mark.anyio
async def test_a_journal_that_has_no_room_for_a_result_says_so_and_goes_on_once_there_is(tmp_path):
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        await journal.accept(accepted(1), None)
        connection = journal._database._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalUnusable, match="is full; make room"):
            await journal.ended(accepted(1).id, done(bytes(60_000)))
        connection.execute("PRAGMA max_page_count = 1000000")
        await journal.ended(accepted(1).id, done(bytes(60_000)))
        assert journal.held_bytes > 60_000


@pytest.mark.anyio
async def test_what_cannot_be_opened_otherwise_is_not_to_be_given_up(tmp_path):
    (tmp_path / "x").write_bytes(b"no database, by any means, and long enough to be looked at" * 100)
    with pytest.raises(JournalUnusable) as caught:
        async with open_journal(tmp_path / "x"):
            raise AssertionError("it was opened")
    assert "it holds accepted jobs" in str(caught.value)


@pytest.mark.parametrize("call", ["open", "pwrite"])
def test_a_home_without_room_says_so(tmp_path, monkeypatch, call):
    home = Home(tmp_path / "home")
    home.folder()

    def fails(*args: object, **keywords: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(f"plasm.home.os.{call}", fails)
    with pytest.raises(HomeError, match="is full; make room"), home.lock():
        raise AssertionError("it was locked")


def test_another_fault_is_not_called_a_full_disk(tmp_path):
    assert not diskspace.is_full(PermissionError(errno.EACCES, "x"), tmp_path)
    assert not diskspace.is_full(sqlite3.DatabaseError("malformed"), tmp_path)
    assert diskspace.is_full(OSError(errno.EDQUOT, "x"), tmp_path)


def test_no_message_tells_anyone_to_move_or_remove_what_is_plasms_own():
    sources = [*ROOT.glob("plasm/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    assert [path.name for path in sources if re.search('["; ]move it away', path.read_text())] == []
