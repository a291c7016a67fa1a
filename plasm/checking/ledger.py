"""The ledger: what each peer did, as this client saw it. One row to a peer, bounded, and there after a restart.

It is nobody's reputation but this client's own notes: nothing in it is told to or taken from others. ``specs/
checking.md``, section 5, says what the numbers mean.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from plasm.checking.standing import TRUSTED_AFTER, Deed, PeerRecord
from plasm.errors import PlasmError
from plasm.home import Home
from plasm.jobs.database import Database, Shape, open_database
from plasm.ports import PeerId

MAX_PEERS: Final = 10_000
FILE_NAME: Final = "peers.sqlite"
"""In a home."""

_COLUMNS = tuple(field.name for field in fields(PeerRecord))
_NAMES = ", ".join(_COLUMNS)
_EVICT = f"""
DELETE FROM peers WHERE peer IN (
    SELECT peer FROM peers WHERE lied = 0 ORDER BY streak >= {TRUSTED_AFTER}, contradicted > 0, last_seen, peer
    LIMIT MAX(0, (SELECT COUNT(*) FROM peers) - ?)
)
"""  # noqa: S608
"""The unknown first, the oldest of them first; those proven lying never."""


class LedgerUnusable(PlasmError):
    """The ledger cannot be read or written; the message is one line with what mends it."""


_SHAPE = Shape(
    name="the ledger of peers",
    schema="""
CREATE TABLE IF NOT EXISTS peers (
    peer TEXT PRIMARY KEY, answered INTEGER NOT NULL, agreed INTEGER NOT NULL, undecided INTEGER NOT NULL,
    contradicted INTEGER NOT NULL, lied INTEGER NOT NULL, timed_out INTEGER NOT NULL, refused INTEGER NOT NULL,
    streak INTEGER NOT NULL, latency_seconds REAL, first_seen REAL NOT NULL, last_seen REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS peers_by_last_seen ON peers (last_seen);
""",
    version=1,
    unusable=LedgerUnusable,
    mend="bring a copy of it back, or use another --home: without it liars that were found are forgotten",
)


class Ledger:
    """Use :func:`open_ledger`. What it reads or writes raises :exc:`LedgerUnusable`, unless it says otherwise."""

    def __init__(
        self, database: Database, log: logging.Logger, *, most: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._log = log
        self._most = most
        self._clock = clock

    async def record(self, peer: PeerId, *deeds: Deed, latency_seconds: float | None = None) -> PeerRecord:
        """Write down what `peer` did, in order, with a round trip's length where one was measured; its record now."""
        now = self._clock()

        def change(database: sqlite3.Connection) -> PeerRecord:
            record = _read(database, peer) or PeerRecord(peer=peer)
            for deed in deeds:
                record = record.after(deed, now=now, latency_seconds=latency_seconds)
            _write(database, record)
            database.execute(_EVICT, (self._most,))
            if _count(database) > self._most:
                # None but liars are left. One more is forgotten: it would come back under a fresh key anyway.
                database.execute("DELETE FROM peers WHERE peer = ?", (peer,))
            return record

        return await self._database.write(change)

    async def note(self, peer: PeerId, *deeds: Deed, latency_seconds: float | None = None) -> None:
        """The same, for whoever has something better to do than to fail: a disk that takes nothing is logged."""
        try:
            await self.record(peer, *deeds, latency_seconds=latency_seconds)
        except LedgerUnusable as error:
            self._log.warning("the ledger of peers: %s", error)

    async def find(self, peer: PeerId) -> PeerRecord:
        """What is known of `peer`; a fresh record where nothing is."""
        found = await self._database.read(lambda database: _read(database, peer))
        return found or PeerRecord(peer=peer)

    async def found(self, peers: Sequence[PeerId]) -> list[PeerRecord]:
        """What is known of each of `peers`, in their order."""

        def query(database: sqlite3.Connection) -> list[PeerRecord]:
            return [_read(database, peer) or PeerRecord(peer=peer) for peer in peers]

        return await self._database.read(query)

    async def listed(self, most: int = MAX_PEERS) -> list[PeerRecord]:
        """The `most` peers that were seen last, newest first."""

        def query(database: sqlite3.Connection) -> list[PeerRecord]:
            rows = database.execute(f"SELECT {_NAMES} FROM peers ORDER BY last_seen DESC, peer LIMIT ?", (most,))  # noqa: S608
            return [_record(row) for row in rows]

        return await self._database.read(query)


def _read(database: sqlite3.Connection, peer: PeerId) -> PeerRecord | None:
    row = database.execute(f"SELECT {_NAMES} FROM peers WHERE peer = ?", (peer,)).fetchone()  # noqa: S608
    return _record(row) if row else None


def _record(row: tuple[Any, ...]) -> PeerRecord:
    return PeerRecord(**dict(zip(_COLUMNS, row, strict=True)))


def _write(database: sqlite3.Connection, record: PeerRecord) -> None:
    marks = ", ".join("?" * len(_COLUMNS))
    values = [getattr(record, name) for name in _COLUMNS]
    database.execute(f"INSERT OR REPLACE INTO peers ({_NAMES}) VALUES ({marks})", values)  # noqa: S608


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT COUNT(*) FROM peers").fetchone()[0])


def ledger_path(home: Home) -> Path | None:
    """Where the ledger of `home` is; ``None`` where nothing may be written."""
    folder = home.folder()
    return None if folder is None else folder / FILE_NAME


@contextlib.asynccontextmanager
async def open_ledger(
    path: Path | None,
    log: logging.Logger,
    *,
    most: int = MAX_PEERS,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Ledger]:
    """The ledger at `path`, made where there is none; in memory for ``None``. Raises :exc:`LedgerUnusable`."""
    async with open_database(path, _SHAPE) as database:
        yield Ledger(database, log, most=most, clock=clock)
