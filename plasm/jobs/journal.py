"""The journal: what a node accepted and how it ended, so that a restart loses nothing.

One sqlite database, touched from worker threads one at a time. Writes that arrive together share one transaction; each
caller goes on when its own has been committed. With write-ahead logging and ``synchronous=NORMAL`` a commit survives
the death of the process; a power cut may take back the last moments, never an older part.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskStatus

from plasm.errors import PlasmError, ungrouped
from plasm.jobs.manifest import Job
from plasm.ports import Digest, PeerId

T = TypeVar("T")

TRANSFERRING, QUEUED, RUNNING, DONE, CANCELLED, FAILED = (
    "transferring",
    "queued",
    "running",
    "done",
    "cancelled",
    "failed",
)
UNFINISHED = (TRANSFERRING, QUEUED, RUNNING)
_IS_UNFINISHED = "state IN ('transferring', 'queued', 'running')"
_PENDING_WRITES = 1024
_ANY_SIZE = 2**62
ENDED_JOBS = 100_000
"""Of jobs that have ended, however small what is kept of them is, no more than this are remembered."""
_CLOSE_SECONDS = 10
"""A commit of what is pending takes milliseconds; a disk that hangs for longer than this must not hold the node."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, nonce BLOB NOT NULL, digest TEXT NOT NULL, job BLOB NOT NULL,
    module TEXT NOT NULL, module_size INTEGER NOT NULL, stdin_size INTEGER NOT NULL, stdin BLOB, runtime TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, accepted REAL NOT NULL, finished REAL,
    verdict TEXT, exit_code INTEGER, stdout BLOB, stderr BLOB, receipt BLOB, detail TEXT NOT NULL DEFAULT '',
    held INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, accepted);
PRAGMA user_version = 1;
"""


class JournalUnusable(PlasmError):
    """The journal cannot be read or written; the message is one line with what mends it."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A job as it was accepted."""

    id: str
    client: PeerId
    nonce: bytes
    job: Job
    digest: Digest
    module_size: int
    stdin_size: int
    runtime: str
    accepted: float
    state: str = QUEUED
    attempts: int = 0


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job ended, with what is sent to whoever asks for it."""

    state: str
    verdict: str | None = None
    exit_code: int | None = None
    stdout: bytes = field(default=b"", repr=False)
    stderr: bytes = field(default=b"", repr=False)
    receipt: bytes = field(default=b"", repr=False)
    detail: str = ""
    left_out: int = 0
    """Bytes of standard output and error that are in the journal and not here."""

    def without_much(self, most_output: int) -> Ending:
        """The same, with the output left out where it is larger than `most_output` bytes."""
        size = len(self.stdout) + len(self.stderr)
        return replace(self, stdout=b"", stderr=b"", left_out=size) if size > most_output else self


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of ``plasm jobs``."""

    id: str
    client: PeerId
    digest: Digest
    runtime: str
    state: str
    verdict: str | None
    exit_code: int | None
    accepted: float
    finished: float | None


class Journal:
    """Use :func:`open_journal`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._send, self._receive = anyio.create_memory_object_stream[
            tuple[Callable[[sqlite3.Connection], Any], _Waiter]
        ](_PENDING_WRITES)
        self._commits = anyio.CancelScope(shield=True)

    async def accept(self, accepted: Accepted, stdin: bytes | None) -> None:
        """Record an accepted job; it is accepted once this returns. Raises :exc:`JournalUnusable`."""
        row = (
            accepted.id,
            accepted.client,
            accepted.nonce,
            accepted.digest,
            msgspec.msgpack.encode(accepted.job),
            accepted.job.manifest.module_hash,
            accepted.module_size,
            accepted.stdin_size,
            stdin,
            accepted.runtime,
            accepted.state,
            accepted.accepted,
        )
        await self._write(
            lambda database: database.execute(
                "INSERT INTO jobs (id, client, nonce, digest, job, module, module_size, stdin_size, stdin, runtime,"
                " state, accepted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " state = excluded.state, runtime = excluded.runtime, job = excluded.job, stdin = excluded.stdin,"
                " attempts = 0, accepted = excluded.accepted, finished = NULL, held = 0"
                " WHERE jobs.state IN ('cancelled', 'failed', 'transferring')",
                row,
            )
        )

    async def supplied(self, job_id: str, stdin: bytes | None) -> None:
        """Everything that the job needs has arrived: it is queued."""
        await self._write(
            lambda database: database.execute(
                "UPDATE jobs SET state = ?, stdin = COALESCE(?, stdin) WHERE id = ? AND state = ?",
                (QUEUED, stdin, job_id, TRANSFERRING),
            )
        )

    async def started(self, job_id: str) -> int:
        """The job is about to run; how many times it has been, this one included."""

        def update(database: sqlite3.Connection) -> int:
            row = database.execute(
                "UPDATE jobs SET state = ?, attempts = attempts + 1 WHERE id = ? RETURNING attempts", (RUNNING, job_id)
            ).fetchone()
            return int(row[0]) if row else 0

        return await self._write(update)

    async def interrupted(self, job_id: str) -> None:
        """The job was running when the node was told to stop: it waits for the next start, and that was no attempt."""
        await self._write(
            lambda database: database.execute(
                "UPDATE jobs SET state = ?, attempts = MAX(attempts - 1, 0) WHERE id = ? AND state = ?",
                (QUEUED, job_id, RUNNING),
            )
        )

    async def ended(self, job_id: str, ending: Ending) -> None:
        """Record how the job ended and drop what is needed no more. A job that has ended keeps its first ending."""
        held = len(ending.stdout) + len(ending.stderr) + len(ending.receipt)
        values = (
            ending.state,
            time.time(),
            ending.verdict,
            ending.exit_code,
            ending.stdout,
            ending.stderr,
            ending.receipt,
            ending.detail,
            held,
            job_id,
        )
        await self._write(
            lambda database: database.execute(
                "UPDATE jobs SET state = ?, finished = ?, verdict = ?, exit_code = ?, stdout = ?, stderr = ?,"
                " receipt = ?, detail = ?, held = ?, stdin = NULL, job = x'' WHERE id = ?"
                " AND state IN ('transferring', 'queued', 'running')",
                values,
            )
        )

    async def stdin(self, job_id: str) -> bytes:
        """The input of a job that is to run."""
        row = await self._read(lambda d: d.execute("SELECT stdin FROM jobs WHERE id = ?", (job_id,)).fetchone())
        return bytes(row[0]) if row and row[0] is not None else b""

    async def find(self, job_id: str) -> Accepted | None:
        """An unfinished job as it was accepted, with its present state; ``None`` where it ended or is not known."""
        row = await self._read(
            lambda d: d.execute(f"{_SELECT} WHERE id = ? AND {_IS_UNFINISHED}", (job_id,)).fetchone()
        )
        return _accepted(row) if row else None

    async def client(self, job_id: str) -> PeerId | None:
        """Who sent the job; ``None`` where it is not known."""
        row = await self._read(lambda d: d.execute("SELECT client FROM jobs WHERE id = ?", (job_id,)).fetchone())
        return PeerId(row[0]) if row else None

    async def ending(self, job_id: str, most_output: int | None = None) -> Ending | None:
        """How a job ended; ``None`` where it has not, or is not known. Output above `most_output` bytes is left out."""
        most = most_output if most_output is not None else _ANY_SIZE
        row = await self._read(
            lambda d: d.execute(
                "SELECT state, verdict, exit_code, IIF(length(stdout) + length(stderr) <= ?1, stdout, NULL),"
                " IIF(length(stdout) + length(stderr) <= ?1, stderr, NULL), receipt, detail,"
                " length(stdout) + length(stderr) FROM jobs WHERE id = ?2",
                (most, job_id),
            ).fetchone()
        )
        if row is None or row[0] in UNFINISHED:
            return None
        return Ending(
            state=row[0],
            verdict=row[1],
            exit_code=row[2],
            stdout=row[3] or b"",
            stderr=row[4] or b"",
            receipt=row[5] or b"",
            detail=row[6],
            left_out=row[7] if (row[7] or 0) > most else 0,
        )

    async def unfinished(self) -> list[Accepted]:
        """Jobs that were accepted and have not ended, oldest first."""
        rows = await self._read(
            lambda d: d.execute(f"{_SELECT} WHERE {_IS_UNFINISHED} ORDER BY accepted, id").fetchall()
        )
        return [_accepted(row) for row in rows]

    async def listed(self, most: int = 1000) -> list[Listed]:
        """The newest `most` jobs, newest first."""
        rows = await self._read(
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

        def delete(database: sqlite3.Connection) -> list[str]:
            gone = database.execute(
                "DELETE FROM jobs WHERE (finished < ?) OR (state = 'transferring' AND accepted < ?) RETURNING id",
                (now - keep_seconds, now - transfer_seconds),
            ).fetchall()
            for measure, most in (("held", max_held_bytes), ("1", max_ended)):
                gone += database.execute(_EVICT.format(measure=measure), (most,)).fetchall()
            return [row[0] for row in gone]

        return await self._write(delete)

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        waiter = _Waiter()
        try:
            await self._send.send((change, waiter))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise JournalUnusable("the journal is closed") from None
        await waiter.done.wait()
        if waiter.error is not None:
            raise JournalUnusable(f"the journal cannot be written: {waiter.error}") from waiter.error
        result: T = waiter.result
        return result

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(query, self._database, limiter=self._one_at_a_time)
        except sqlite3.Error as error:
            raise JournalUnusable(f"the journal cannot be read: {error}") from error

    async def _commit_as_they_come(self, *, task_status: TaskStatus[None]) -> None:
        # Shielded: whoever records an ending while the node is being cancelled still gets it committed.
        with self._commits, self._receive:
            task_status.started()
            async for first in self._receive:
                batch = [first]
                with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream):
                    while len(batch) < _PENDING_WRITES:
                        batch.append(self._receive.receive_nowait())
                await anyio.to_thread.run_sync(
                    functools.partial(_commit, self._database, batch), limiter=self._one_at_a_time
                )
                for _, waiter in batch:
                    waiter.done.set()


class _Waiter:
    def __init__(self) -> None:
        self.done = anyio.Event()
        self.result: Any = None
        self.error: Exception | None = None


def _commit(database: sqlite3.Connection, batch: list[tuple[Callable[[sqlite3.Connection], Any], _Waiter]]) -> None:
    try:
        with database:
            database.execute("BEGIN IMMEDIATE")
            for change, waiter in batch:
                database.execute("SAVEPOINT one")
                try:
                    waiter.result = change(database)
                    database.execute("RELEASE one")
                except (sqlite3.IntegrityError, ValueError, OverflowError) as error:
                    waiter.error = error
                    database.execute("ROLLBACK TO one")
    except sqlite3.Error as error:
        for _, waiter in batch:
            waiter.error = waiter.error or error


_EVICT = """
DELETE FROM jobs WHERE id IN (
    SELECT id FROM (
        SELECT id, SUM({measure}) OVER (ORDER BY of_client, finished DESC, id) AS total FROM (
            SELECT id, finished, held,
                SUM({measure}) OVER (PARTITION BY client ORDER BY finished DESC, id) AS of_client
            FROM jobs WHERE finished IS NOT NULL
        )
    ) WHERE total > ?
) RETURNING id
"""
_SELECT = "SELECT id, client, nonce, job, digest, module_size, stdin_size, runtime, accepted, state, attempts FROM jobs"


def _accepted(row: tuple[Any, ...]) -> Accepted:
    names = ("id", "client", "nonce", "job", "digest", "module_size", "stdin_size", "runtime", "accepted", "state")
    values = dict(zip((*names, "attempts"), row, strict=True))
    try:
        values["job"] = msgspec.msgpack.decode(values["job"], type=Job)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise JournalUnusable(f"the journal holds a job that cannot be read: {error}", "move it away") from None
    return Accepted(**values)


def _make_private(path: Path) -> None:
    # Its mode from the first moment on, and that of the files that sqlite puts beside it.
    descriptor = os.open(path, os.O_CREAT | os.O_NOFOLLOW | os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise JournalUnusable(f"{path} is not a file", "move it away")
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        _make_private(path)
    database = sqlite3.connect(
        path if path is not None else ":memory:", check_same_thread=False, isolation_level=None, timeout=5
    )
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path | None) -> None:
    if path is not None:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > 1:
        raise JournalUnusable(
            f"{path} was written by a newer Plasm (format {version})", "upgrade, or use another --home"
        )
    database.execute("PRAGMA temp_store = MEMORY")
    database.executescript(_SCHEMA)


@contextlib.asynccontextmanager
async def open_journal(path: Path | None) -> AsyncIterator[Journal]:
    """The journal at `path`, made where there is none; in memory for ``None``. Raises :exc:`JournalUnusable`."""
    try:
        database = await anyio.to_thread.run_sync(_connect, path)
    except (sqlite3.Error, OSError) as error:
        raise JournalUnusable(f"{path} cannot be opened: {error}") from error
    journal = Journal(database)
    try:
        with ungrouped():
            async with anyio.create_task_group() as tasks:
                await tasks.start(journal._commit_as_they_come)
                try:
                    yield journal
                finally:
                    journal._send.close()
                    journal._commits.deadline = anyio.current_time() + _CLOSE_SECONDS
    finally:
        database.close()
