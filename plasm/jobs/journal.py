"""The journal: what a node accepted and how it ended, so that a restart loses nothing."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from plasm.jobs.database import Database, Shape, open_database
from plasm.jobs.elapsed import ElapsedTime, Mark
from plasm.jobs.kept import Kept, KeptEndings
from plasm.jobs.manifest import Job
from plasm.jobs.outputs import Output, cut, joined, table_of
from plasm.jobs.records import (
    OWN,
    QUEUED,
    RUNNING,
    TRANSFERRING,
    UNFINISHED,
    Accepted,
    Ending,
    JournalUnusable,
    Listed,
)
from plasm.ports import PeerId
from plasm.shares import Origin, origin_of

MEND = "bring a copy of it back, or use another --home: it holds accepted jobs and results"
_SHAPE = Shape(
    name="the journal",
    # What is looked at often stands before what is large: a row is read from its start.
    schema="""
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, network TEXT, address TEXT, stamp REAL NOT NULL DEFAULT 0,
    state TEXT NOT NULL, held INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, accepted REAL NOT NULL,
    finished REAL, verdict TEXT, exit_code INTEGER, reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    nonce BLOB NOT NULL, digest TEXT NOT NULL, module TEXT NOT NULL, module_size INTEGER NOT NULL,
    input_size INTEGER NOT NULL, runtime TEXT NOT NULL, receipt BLOB, output_table BLOB, job BLOB NOT NULL, input BLOB,
    outputs BLOB
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, accepted);
CREATE TABLE IF NOT EXISTS passed (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 0), elapsed REAL NOT NULL, boot TEXT NOT NULL, uptime REAL NOT NULL
);
""",
    version=2,
    unusable=JournalUnusable,
    mend=MEND,
    migrations={
        # All that ended before is as old as this moment: when it was is known by the wall clock alone.
        1: """
ALTER TABLE jobs ADD COLUMN network TEXT;
ALTER TABLE jobs ADD COLUMN address TEXT;
ALTER TABLE jobs ADD COLUMN stamp REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN reason TEXT NOT NULL DEFAULT '';
"""
    },
    shrinks=True,
)
_IS_UNFINISHED = "state IN ('transferring', 'queued', 'running')"
_ANY_SIZE = 2**62
ENDED_JOBS = 100_000
"""Of jobs that have ended, however small what is kept of them is, no more than this are remembered."""
_DELETED_ROWS = 256
_DELETED_BYTES = 8 * 2**20
"""In one transaction: jobs that are accepted meanwhile wait for it, and what it frees is held in memory until then."""
_INSERT = """
INSERT INTO jobs (id, client, network, address, nonce, digest, module, module_size, input_size, runtime, accepted, job,
    input, state, attempts, finished, verdict, exit_code, outputs, output_table, receipt, detail, reason, held, stamp)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET network = excluded.network, address = excluded.address, runtime = excluded.runtime,
    accepted = excluded.accepted, job = excluded.job, input = excluded.input, state = excluded.state,
    attempts = excluded.attempts, finished = excluded.finished, verdict = excluded.verdict,
    exit_code = excluded.exit_code, outputs = excluded.outputs, output_table = excluded.output_table,
    receipt = excluded.receipt, detail = excluded.detail, reason = excluded.reason, held = excluded.held,
    stamp = excluded.stamp
WHERE jobs.state IN ('failed', 'transferring') RETURNING id
"""
_ENDED = """
UPDATE jobs SET state = ?, finished = ?, verdict = ?, exit_code = ?, outputs = ?, output_table = ?, receipt = ?,
    detail = ?, reason = ?, held = ?, stamp = ?, input = NULL, job = x''
WHERE id = ? AND state IN ('transferring', 'queued', 'running') RETURNING id
"""
_HELD = -2
"""Where what :func:`_ended_columns` gives says how many bytes they hold."""
_NOT_ENDED = (None, None, None, None, None, None, "", "", 0, 0.0)
_SELECT = """
SELECT id, client, nonce, job, digest, module_size, input_size, runtime, accepted, state, attempts, network, address
FROM jobs
"""


class Journal:
    """Use :func:`open_journal`. What it reads or writes raises :exc:`~plasm.jobs.records.JournalUnusable`."""

    def __init__(self, database: Database, kept: KeptEndings) -> None:
        self._database = database
        self._kept = kept
        self._time = ElapsedTime()
        self._unfinished: dict[bytes, Origin] = {}
        self._coming_bytes = self._coming = 0
        """Of endings that are being written: what they hold, and how many they are.

        They come on top of the bounds where more is written at once than is kept."""

    async def read_kept(self) -> None:
        """Go on from what an earlier life wrote."""

        def query(database: sqlite3.Connection) -> tuple[list[tuple[Any, ...]], tuple[Any, ...] | None]:
            rows = database.execute(
                "SELECT id, client, network, address, held, stamp, finished IS NULL FROM jobs ORDER BY stamp, finished"
            ).fetchall()
            return rows, database.execute("SELECT elapsed, boot, uptime FROM passed").fetchone()

        rows, mark = await self._database.read(query)
        self._time = ElapsedTime(Mark(*mark) if mark is not None else None)
        try:
            for identity, client, network, address, held, stamp, unfinished in rows:
                origin = _origin(client, network, address)
                if unfinished:
                    self._unfinished[bytes.fromhex(identity)] = origin
                else:
                    self._kept.add(bytes.fromhex(identity), origin, Kept(held, stamp))
        except (ValueError, TypeError):
            raise JournalUnusable("the journal holds a job whose id cannot be read", MEND) from None

    def knows(self, job_id: str) -> bool:
        """Whether something is recorded under that id: what was asked for before is not run again."""
        identity = bytes.fromhex(job_id)
        return identity in self._unfinished or identity in self._kept

    @property
    def held_bytes(self) -> int:
        """Of all results that are kept."""
        return self._kept.held_bytes

    async def accept(self, accepted: Accepted, data: bytes | None, most_output: int | None = None) -> Ending | None:
        """Record an accepted job, with its input as `data` where that is here; accepted once this returns ``None``.

        One that was accepted before and ended otherwise than ``failed`` stays as it is: its ending is returned, without
        output above `most_output` bytes.
        """
        identity = bytes.fromhex(accepted.id)
        fresh = not self.knows(accepted.id)
        if fresh:
            # Before it is written, so that nobody runs meanwhile what is about to be known.
            self._unfinished[identity] = accepted.origin
        job = msgspec.msgpack.encode(accepted.job)
        try:
            ending = await self._insert(
                accepted, (job, data, accepted.state, accepted.attempts, *_NOT_ENDED), most_output
            )
        except JournalUnusable:
            if fresh:
                self._unfinished.pop(identity, None)
            raise
        if ending is None:
            if identity in self._kept:
                self._kept.remove(identity)
            self._unfinished[identity] = accepted.origin
        return ending

    async def completed(self, accepted: Accepted, ending: Ending, most_output: int | None = None) -> Ending | None:
        """Record at once that a job was accepted and how it ended; else as :meth:`accept`. Room is made first."""
        identity = bytes.fromhex(accepted.id)
        fresh = not self.knows(accepted.id)
        if fresh:
            self._unfinished[identity] = accepted.origin
        stamp = self._time.now()
        columns = _ended_columns(ending, stamp)
        try:
            async with self._room(columns) as held:
                row = (b"", None, ending.state, accepted.attempts, *columns)
                earlier = await self._insert(accepted, row, most_output)
                if earlier is None:
                    self._kept.add(identity, accepted.origin, Kept(held, stamp))
        except JournalUnusable:
            if fresh:
                self._unfinished.pop(identity, None)
            raise
        self._unfinished.pop(identity, None)
        return earlier

    @contextlib.asynccontextmanager
    async def _room(self, columns: tuple[Any, ...]) -> AsyncIterator[int]:
        """Make room for an ending, whose bytes these are, before it is written: a bound that is held later is none."""
        held: int = columns[_HELD]
        self._coming_bytes += held
        self._coming += 1
        try:
            await self._forget(self._above)
            yield held
        finally:
            self._coming_bytes -= held
            self._coming -= 1

    async def _insert(self, accepted: Accepted, how: tuple[Any, ...], most_output: int | None) -> Ending | None:
        row = (
            accepted.id,
            accepted.client,
            accepted.origin.network,
            accepted.origin.address,
            accepted.nonce,
            accepted.digest,
            accepted.job.manifest.module_hash,
            accepted.module_size,
            accepted.input_size,
            accepted.runtime,
            accepted.accepted,
            *how,
        )

        def insert(database: sqlite3.Connection) -> Ending | None:
            taken = database.execute(_INSERT, row).fetchall()
            return None if taken else _ending(database, accepted.id, most_output)

        return await self._database.write(insert, statement=True)

    async def supplied(self, job_id: str, data: bytes | None) -> None:
        """Everything that the job needs has arrived: it is queued."""
        await self._database.write(
            lambda database: database.execute(
                "UPDATE jobs SET state = ?, input = COALESCE(?, input) WHERE id = ? AND state = ?",
                (QUEUED, data, job_id, TRANSFERRING),
            )
        )

    async def started(self, job_id: str) -> int:
        """The job is about to run; how many times it has been, this one included."""

        def update(database: sqlite3.Connection) -> int:
            rows = database.execute(
                "UPDATE jobs SET state = ?, attempts = attempts + 1 WHERE id = ? RETURNING attempts", (RUNNING, job_id)
            ).fetchall()
            return int(rows[0][0]) if rows else 0

        return await self._database.write(update, statement=True)

    async def interrupted(self, job_id: str) -> None:
        """The job was running when the node was told to stop: it waits for the next start, and that was no attempt."""
        await self._database.write(
            lambda database: database.execute(
                "UPDATE jobs SET state = ?, attempts = MAX(attempts - 1, 0) WHERE id = ? AND state = ?",
                (QUEUED, job_id, RUNNING),
            )
        )

    async def ended(self, job_id: str, ending: Ending) -> None:
        """Record how the job ended and drop what is needed no more. A job that has ended keeps its first ending.

        Room is made for it first.
        """
        identity = bytes.fromhex(job_id)
        stamp = self._time.now()
        columns = _ended_columns(ending, stamp)
        async with self._room(columns) as held:
            written = await self._database.write(
                lambda database: database.execute(_ENDED, (ending.state, *columns, job_id)).fetchall(), statement=True
            )
            origin = self._unfinished.pop(identity, None)
            if written and origin is not None:
                self._kept.add(identity, origin, Kept(held, stamp))

    async def input(self, job_id: str) -> bytes:
        """The input of a job that is to run."""
        row = await self._database.read(
            lambda d: d.execute("SELECT input FROM jobs WHERE id = ?", (job_id,)).fetchone()
        )
        return bytes(row[0]) if row and row[0] is not None else b""

    async def client(self, job_id: str) -> PeerId | None:
        """Who sent the job; ``None`` where it is not known."""
        row = await self._database.read(
            lambda d: d.execute("SELECT client FROM jobs WHERE id = ?", (job_id,)).fetchone()
        )
        return PeerId(row[0]) if row else None

    async def ending(self, job_id: str, most_output: int | None = None) -> Ending | None:
        """How a job ended; ``None`` where it has not, or is not known. Output above `most_output` bytes is left out."""
        return await self._database.read(lambda d: _ending(d, job_id, most_output))

    async def unfinished(self) -> list[Accepted]:
        """Jobs that were accepted and have not ended, oldest first."""
        rows = await self._database.read(
            lambda d: d.execute(f"{_SELECT} WHERE {_IS_UNFINISHED} ORDER BY accepted, id").fetchall()
        )
        return [_accepted(row) for row in rows]

    async def listed(self, most: int = 1000) -> list[Listed]:
        """The newest `most` jobs, newest first."""
        rows = await self._database.read(
            lambda d: d.execute(
                "SELECT id, client, digest, runtime, state, verdict, exit_code, accepted, finished FROM jobs"
                " ORDER BY accepted DESC LIMIT ?",
                (most,),
            ).fetchall()
        )
        names = ("id", "client", "digest", "runtime", "state", "verdict", "exit_code", "accepted", "finished")
        return [Listed(**dict(zip(names, row, strict=True))) for row in rows]

    async def sweep(self, keep_seconds: float) -> list[str]:
        """Forget the jobs that ended longer ago than that; their ids. What the file no longer needs the disk has again.

        By the time that has passed, and not by the clock, which may be set.
        """
        mark = self._time.mark()
        await self._database.write(
            lambda d: d.execute(
                "INSERT INTO passed VALUES (0, ?, ?, ?) ON CONFLICT (only_one)"
                " DO UPDATE SET elapsed = excluded.elapsed, boot = excluded.boot, uptime = excluded.uptime",
                mark,
            )
        )
        gone = await self._forget(lambda: self._kept.before(mark.elapsed - keep_seconds))
        await self._database.shrink()
        return gone

    def _above(self) -> bytes | None:
        return self._kept.above(self._coming_bytes, self._coming)

    async def _forget(self, first: Callable[[], bytes | None]) -> list[str]:
        """Forget one ending after another, which `first` names, until it names none; the ids that went."""
        gone: list[str] = []
        while (identity := first()) is not None:
            part: dict[bytes, tuple[Origin, Kept]] = {}
            size = 0
            while identity is not None and len(part) < _DELETED_ROWS and size < _DELETED_BYTES:
                # At once, so that nobody else counts on the same room.
                part[identity] = self._kept.remove(identity)
                size += part[identity][1].held
                identity = first()
            ids = [identity.hex() for identity in part]
            marks = ", ".join("?" * len(ids))
            statement = f"DELETE FROM jobs WHERE id IN ({marks}) AND finished IS NOT NULL RETURNING id"  # noqa: S608
            try:
                deleted = await self._database.write(
                    lambda d, statement=statement, ids=ids: d.execute(statement, ids).fetchall(),  # type: ignore[misc]
                    statement=True,
                )
            except JournalUnusable:
                for each, (origin, kept) in part.items():
                    self._kept.add(each, origin, kept)
                raise
            gone += [row[0] for row in deleted]
        return gone


def _origin(client: str, network: str | None, address: str | None) -> Origin:
    if network is None:
        # Of a journal that did not record it yet.
        return origin_of(None, client)
    return OWN if network == OWN.network else Origin(network, address or "", client)


def _ended_columns(ending: Ending, stamp: float) -> tuple[Any, ...]:
    outputs = joined(ending.outputs)
    return (
        time.time(),
        ending.verdict,
        ending.exit_code,
        outputs,
        msgspec.msgpack.encode(table_of(ending.outputs) if ending.outputs else ()),
        ending.receipt,
        ending.detail,
        ending.reason,
        len(outputs) + len(ending.receipt),
        stamp,
    )


def _ending(database: sqlite3.Connection, job_id: str, most_output: int | None) -> Ending | None:
    most = most_output if most_output is not None else _ANY_SIZE
    row = database.execute(
        "SELECT state, verdict, exit_code, IIF(length(outputs) <= ?1, outputs, NULL), receipt, detail,"
        " length(outputs), output_table, reason FROM jobs WHERE id = ?2",
        (most, job_id),
    ).fetchone()
    if row is None or row[0] in UNFINISHED:
        return None
    return Ending(
        state=row[0],
        verdict=row[1],
        exit_code=row[2],
        outputs=_outputs(row[7], row[3]) if row[3] is not None else {},
        receipt=row[4] or b"",
        detail=row[5],
        reason=row[8],
        left_out=row[6] if (row[6] or 0) > most else 0,
    )


def _outputs(table: bytes, data: bytes) -> dict[str, bytes]:
    try:
        return cut(msgspec.msgpack.decode(table, type=tuple[Output, ...]), data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalUnusable(f"the journal holds outputs that cannot be read: {error}", MEND) from None


def _accepted(row: tuple[Any, ...]) -> Accepted:
    names = ("id", "client", "nonce", "job", "digest", "module_size", "input_size", "runtime", "accepted", "state")
    values = dict(zip((*names, "attempts", "network", "address"), row, strict=True))
    values["origin"] = _origin(values["client"], values.pop("network"), values.pop("address"))
    try:
        values["job"] = msgspec.msgpack.decode(values["job"], type=Job)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise JournalUnusable(f"the journal holds a job that cannot be read: {error}", MEND) from None
    return Accepted(**values)


@contextlib.asynccontextmanager
async def open_journal(
    path: Path | None, *, max_kept_bytes: int = _ANY_SIZE, max_ended: int = ENDED_JOBS
) -> AsyncIterator[Journal]:
    """The journal at `path`, made where there is none; in memory for ``None``. Raises :exc:`JournalUnusable`.

    Of jobs that have ended it keeps no more than these bounds say, each time that one more ends.
    """
    async with open_database(path, _SHAPE) as database:
        journal = Journal(database, KeptEndings(max_kept_bytes, max_ended))
        await journal.read_kept()
        yield journal
