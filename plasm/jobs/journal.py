"""The journal: what a node accepted and how it ended, so that a restart loses nothing."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from plasm.jobs.database import Database, Shape, open_database
from plasm.jobs.manifest import Job
from plasm.jobs.outputs import Output, cut, joined, table_of
from plasm.jobs.records import QUEUED, RUNNING, TRANSFERRING, UNFINISHED, Accepted, Ending, JournalUnusable, Listed
from plasm.ports import PeerId

_SHAPE = Shape(
    name="the journal",
    schema="""
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, nonce BLOB NOT NULL, digest TEXT NOT NULL, job BLOB NOT NULL,
    module TEXT NOT NULL, module_size INTEGER NOT NULL, input_size INTEGER NOT NULL, input BLOB, runtime TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, accepted REAL NOT NULL, finished REAL,
    verdict TEXT, exit_code INTEGER, outputs BLOB, output_table BLOB, receipt BLOB, detail TEXT NOT NULL DEFAULT '',
    held INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, accepted);
""",
    version=1,
    unusable=JournalUnusable,
)
_IS_UNFINISHED = "state IN ('transferring', 'queued', 'running')"
_ANY_SIZE = 2**62
ENDED_JOBS = 100_000
"""Of jobs that have ended, however small what is kept of them is, no more than this are remembered."""
_ABOVE = """
SELECT id, held FROM (
    SELECT id, held, SUM({measure}) OVER (ORDER BY of_client, finished DESC, id) AS total FROM (
        SELECT id, finished, held,
            SUM({measure}) OVER (PARTITION BY client ORDER BY finished DESC, id) AS of_client
        FROM jobs WHERE finished IS NOT NULL
    )
) WHERE total > ?
"""
_PAST = "(finished < ? OR (state = 'transferring' AND accepted < ?))"
_DELETED_ROWS = 256
_DELETED_BYTES = 8 * 2**20
"""In one transaction: jobs that are accepted meanwhile wait for it, and what it frees is held in memory until then."""
_INSERT = """
INSERT INTO jobs (id, client, nonce, digest, module, module_size, input_size, runtime, accepted, job, input, state,
    attempts, finished, verdict, exit_code, outputs, output_table, receipt, detail, held)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET runtime = excluded.runtime, accepted = excluded.accepted, job = excluded.job,
    input = excluded.input, state = excluded.state, attempts = excluded.attempts, finished = excluded.finished,
    verdict = excluded.verdict, exit_code = excluded.exit_code, outputs = excluded.outputs,
    output_table = excluded.output_table, receipt = excluded.receipt, detail = excluded.detail, held = excluded.held
WHERE jobs.state IN ('failed', 'transferring') RETURNING id
"""
_NOT_ENDED = (None, None, None, None, None, None, "", 0)
_SELECT = "SELECT id, client, nonce, job, digest, module_size, input_size, runtime, accepted, state, attempts FROM jobs"


class Journal:
    """Use :func:`open_journal`. What it reads or writes raises :exc:`~plasm.jobs.records.JournalUnusable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[bytes] = set()

    async def read_known(self) -> None:
        """Have :meth:`knows` answer for what an earlier life wrote."""
        rows = await self._database.read(lambda d: d.execute("SELECT id FROM jobs").fetchall())
        try:
            self._known = {bytes.fromhex(row[0]) for row in rows}
        except (ValueError, TypeError):
            raise JournalUnusable("the journal holds a job whose id is none", "move it away") from None

    def knows(self, job_id: str) -> bool:
        """Whether something is recorded under that id: what was asked for before is not run again."""
        return bytes.fromhex(job_id) in self._known

    async def accept(self, accepted: Accepted, data: bytes | None, most_output: int | None = None) -> Ending | None:
        """Record an accepted job, with its input as `data` where that is here; accepted once this returns ``None``.

        One that was accepted before and ended otherwise than ``failed`` stays as it is: its ending is returned, without
        output above `most_output` bytes.
        """
        job = msgspec.msgpack.encode(accepted.job)
        return await self._insert(accepted, (job, data, accepted.state, accepted.attempts, *_NOT_ENDED), most_output)

    async def completed(self, accepted: Accepted, ending: Ending, most_output: int | None = None) -> Ending | None:
        """Record at once that a job was accepted and how it ended; else as :meth:`accept`."""
        columns = _ended_columns(ending)
        return await self._insert(accepted, (b"", None, ending.state, accepted.attempts, *columns), most_output)

    async def _insert(self, accepted: Accepted, how: tuple[Any, ...], most_output: int | None) -> Ending | None:
        row = (
            accepted.id,
            accepted.client,
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

        self._known.add(bytes.fromhex(accepted.id))
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
        """Record how the job ended and drop what is needed no more. A job that has ended keeps its first ending."""
        values = (ending.state, *_ended_columns(ending), job_id)
        await self._database.write(
            lambda database: database.execute(
                "UPDATE jobs SET state = ?, finished = ?, verdict = ?, exit_code = ?, outputs = ?,"
                " output_table = ?, receipt = ?, detail = ?, held = ?, input = NULL, job = x'' WHERE id = ?"
                " AND state IN ('transferring', 'queued', 'running')",
                values,
            ),
            statement=True,
        )

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

    async def sweep(
        self, *, keep_seconds: float, max_held_bytes: int, transfer_seconds: float, max_ended: int = ENDED_JOBS
    ) -> list[str]:
        """Forget jobs whose promise has run out, then what is above the bounds; the ids that went.

        What is above a bound goes from the clients that hold most, the oldest of theirs first: one that fills the
        journal loses its own results and not those of others.
        """
        now = time.time()
        past = (now - keep_seconds, now - transfer_seconds)
        gone = await self._delete(f"SELECT id, held FROM jobs WHERE {_PAST}", past, _PAST, past)  # noqa: S608
        for measure, most in (("held", max_held_bytes), ("1", max_ended)):
            gone += await self._delete(_ABOVE.format(measure=measure), (most,), "finished IS NOT NULL", ())
        return gone

    async def _delete(
        self, query: str, values: tuple[float, ...], still: str, still_values: tuple[float, ...]
    ) -> list[str]:
        """Delete the rows (id, held) of `query` of which `still` holds when their turn comes; the ids that went."""
        rows: list[tuple[str, int]] = await self._database.read(lambda d: d.execute(query, values).fetchall())
        gone: list[str] = []
        for part in _in_parts(rows):
            marks = ", ".join("?" * len(part))
            statement = f"DELETE FROM jobs WHERE id IN ({marks}) AND {still} RETURNING id"  # noqa: S608
            deleted = await self._database.write(
                lambda d, statement=statement, part=part: d.execute(statement, (*part, *still_values)).fetchall()  # type: ignore[misc]
            )
            gone += [row[0] for row in deleted]
            self._known.difference_update(bytes.fromhex(row[0]) for row in deleted)
        return gone


def _ended_columns(ending: Ending) -> tuple[Any, ...]:
    outputs = joined(ending.outputs)
    return (
        time.time(),
        ending.verdict,
        ending.exit_code,
        outputs,
        msgspec.msgpack.encode(table_of(ending.outputs) if ending.outputs else ()),
        ending.receipt,
        ending.detail,
        len(outputs) + len(ending.receipt),
    )


def _in_parts(rows: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for identity, held in rows:
        if part and (len(part) == _DELETED_ROWS or size + held > _DELETED_BYTES):
            yield part
            part, size = [], 0
        part.append(identity)
        size += held
    if part:
        yield part


def _ending(database: sqlite3.Connection, job_id: str, most_output: int | None) -> Ending | None:
    most = most_output if most_output is not None else _ANY_SIZE
    row = database.execute(
        "SELECT state, verdict, exit_code, IIF(length(outputs) <= ?1, outputs, NULL), receipt, detail,"
        " length(outputs), output_table FROM jobs WHERE id = ?2",
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
        left_out=row[6] if (row[6] or 0) > most else 0,
    )


def _outputs(table: bytes, data: bytes) -> dict[str, bytes]:
    try:
        return cut(msgspec.msgpack.decode(table, type=tuple[Output, ...]), data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalUnusable(f"the journal holds outputs that cannot be read: {error}", "move it away") from None


def _accepted(row: tuple[Any, ...]) -> Accepted:
    names = ("id", "client", "nonce", "job", "digest", "module_size", "input_size", "runtime", "accepted", "state")
    values = dict(zip((*names, "attempts"), row, strict=True))
    try:
        values["job"] = msgspec.msgpack.decode(values["job"], type=Job)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise JournalUnusable(f"the journal holds a job that cannot be read: {error}", "move it away") from None
    return Accepted(**values)


@contextlib.asynccontextmanager
async def open_journal(path: Path | None) -> AsyncIterator[Journal]:
    """The journal at `path`, made where there is none; in memory for ``None``. Raises :exc:`JournalUnusable`."""
    async with open_database(path, _SHAPE) as database:
        journal = Journal(database)
        await journal.read_known()
        yield journal
