"""What ``plasm nodes`` shows of the ledger."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio

from plasm.checking.ledger import FILE_NAME as LEDGER
from plasm.checking.ledger import open_ledger
from plasm.checking.standing import Deed
from plasm.cli.standings import HEADER, columns, document, read_records
from plasm.home import Home
from tests.checking.said import node


def test_a_home_without_a_ledger_gets_none(tmp_path: Path):
    home = Home(tmp_path)
    assert columns(read_records(home, [node(1)])[node(1)]) == ("unknown", "0/0", "0", "0/0")
    assert list(tmp_path.iterdir()) == []
    assert read_records(Home(None), [node(1)])[node(1)].answered == 0


def test_what_a_peer_did_stands_in_its_columns(tmp_path: Path):
    async def write() -> None:
        async with open_ledger(tmp_path / LEDGER, logging.getLogger()) as ledger:
            await ledger.record(node(1), *[Deed.ANSWERED, Deed.AGREED] * 3, Deed.TIMED_OUT, Deed.REFUSED)
            await ledger.record(node(1), Deed.LIED, Deed.ANSWERED, Deed.AGREED)

    anyio.run(write)
    record = read_records(Home(tmp_path), [node(1), node(2)])[node(1)]
    assert columns(record) == ("liar", "1/4", "1", "2/6")
    assert len(columns(record)) == len(HEADER)
    assert (document(record)["lied"], document(record)["streak"]) == (1, 1)
