"""The ledger: what peers did is there after a restart, is bounded, and never forgets a liar for a stranger."""

from __future__ import annotations

import logging
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest

from plasm.checking.ledger import Ledger, LedgerUnusable, open_ledger
from plasm.checking.standing import TRUSTED_AFTER, Deed, PeerRecord, Standing
from tests.checking.said import node

pytestmark = pytest.mark.anyio
LOG = logging.getLogger("plasm.tests")


class Clock:
    """Goes on by a second each time it is looked at."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peers.sqlite"


async def peers(ledger: Ledger) -> set[str]:
    return {record.peer for record in await ledger.listed()}


async def test_a_peer_that_nobody_has_seen_has_a_fresh_record():
    async with open_ledger(None, LOG) as ledger:
        assert await ledger.find(node(1)) == PeerRecord(peer=node(1))
        assert await ledger.listed() == []


@pytest.mark.parametrize("where", ["disk", "memory"])
async def test_deeds_are_counted_in_their_order(path, where):
    async with open_ledger(path if where == "disk" else None, LOG, clock=Clock()) as ledger:
        await ledger.record(node(1), Deed.ANSWERED, Deed.AGREED, latency_seconds=0.25)
        record = await ledger.record(node(1), Deed.CONTRADICTED, Deed.AGREED)
        assert record == await ledger.find(node(1))
        assert (record.answered, record.agreed, record.contradicted, record.streak) == (1, 2, 1, 1)
        assert (record.latency_seconds, record.first_seen, record.last_seen) == (0.25, 1001.0, 1002.0)


async def test_what_was_written_is_there_after_a_restart(path):
    async with open_ledger(path, LOG) as ledger:
        before = await ledger.record(node(1), *[Deed.AGREED] * TRUSTED_AFTER)
    async with open_ledger(path, LOG) as ledger:
        assert await ledger.find(node(1)) == before
        assert before.standing is Standing.TRUSTED


async def test_what_was_recorded_survives_the_death_of_the_process(path):
    script = """
        import anyio, logging, os, sys
        from pathlib import Path
        from plasm.checking.ledger import open_ledger
        from plasm.checking.standing import Deed

        async def main():
            async with open_ledger(Path(sys.argv[1]), logging.getLogger()) as ledger:
                await ledger.record(sys.argv[2], Deed.LIED)
                os.kill(os.getpid(), 9)

        anyio.run(main)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path), node(1)]
    done = await anyio.run_process(command, check=False, stderr=subprocess.DEVNULL)
    assert done.returncode == -9
    async with open_ledger(path, LOG) as ledger:
        assert (await ledger.find(node(1))).standing is Standing.LIAR


async def test_records_come_in_the_order_that_was_asked_for_and_lists_newest_first():
    async with open_ledger(None, LOG, clock=Clock()) as ledger:
        for number in (1, 2, 3):
            await ledger.record(node(number), Deed.ANSWERED)
        asked = [node(3), node(9), node(1)]
        assert [record.peer for record in await ledger.found(asked)] == asked
        assert [record.peer for record in await ledger.listed(2)] == [node(3), node(2)]


async def test_many_at_once_lose_nothing():
    async with open_ledger(None, LOG) as ledger, anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ledger.note, node(1), Deed.AGREED)
        with anyio.fail_after(10):
            while (await ledger.find(node(1))).streak < 50:
                await anyio.lowlevel.checkpoint()


async def test_above_the_bound_the_oldest_unknown_peer_goes_first():
    async with open_ledger(None, LOG, most=3, clock=Clock()) as ledger:
        await ledger.record(node(1), *[Deed.AGREED] * TRUSTED_AFTER)
        await ledger.record(node(2), Deed.CONTRADICTED)
        await ledger.record(node(3), Deed.ANSWERED)
        await ledger.record(node(4), Deed.ANSWERED)
        assert await peers(ledger) == {node(1), node(2), node(4)}
        await ledger.record(node(5), Deed.ANSWERED)
        assert await peers(ledger) == {node(1), node(2), node(5)}


async def test_a_flood_of_strangers_displaces_no_liar():
    async with open_ledger(None, LOG, most=4, clock=Clock()) as ledger:
        await ledger.record(node(1), Deed.LIED)
        await ledger.record(node(2), *[Deed.AGREED] * 50, Deed.LIED)
        for number in range(10, 40):
            await ledger.record(node(number), Deed.ANSWERED)
        assert {node(1), node(2)} < await peers(ledger)
        assert len(await peers(ledger)) == 4


async def test_liars_do_not_grow_over_the_bound_either():
    async with open_ledger(None, LOG, most=3) as ledger:
        for number in range(10):
            await ledger.record(node(number), Deed.LIED)
        assert await peers(ledger) == {node(0), node(1), node(2)}
        await ledger.record(node(1), Deed.LIED)
        assert (await ledger.find(node(1))).lied == 2
        await ledger.record(node(20), Deed.ANSWERED)
        assert await peers(ledger) == {node(0), node(1), node(2)}


async def test_the_file_is_the_users_alone(path):
    async with open_ledger(path, LOG) as ledger:
        await ledger.record(node(1), Deed.ANSWERED)
        modes = {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {0o600}


async def test_a_ledger_of_a_newer_plasm_is_left_alone(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(LedgerUnusable, match="newer Plasm"):
        async with open_ledger(path, LOG):
            pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("make", ["garbage", "folder", "link"])
async def test_what_is_no_ledger_is_said_in_one_line(path, make):
    if make == "garbage":
        path.write_bytes(b"not a database at all" * 100)
    elif make == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(LedgerUnusable) as caught:
        async with open_ledger(path, LOG):
            pass
    assert str(caught.value).isprintable()


async def test_a_disk_that_takes_nothing_costs_a_note_and_no_job(path, caplog):
    async with open_ledger(path, LOG) as ledger:
        other = sqlite3.connect(path)
        other.execute("DROP TABLE peers")
        other.close()
        with pytest.raises(LedgerUnusable):
            await ledger.record(node(1), Deed.AGREED)
        await ledger.note(node(1), Deed.AGREED)
    assert "ledger" in caplog.text
