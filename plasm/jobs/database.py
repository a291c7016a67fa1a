"""The journal's database: one sqlite file, touched from worker threads one at a time.

Writes that arrive together share one transaction; each caller goes on when its own has been committed. With write-ahead
logging and ``synchronous=NORMAL`` a commit survives the death of the process; a power cut may take back the last
moments, never an older part.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from plasm.errors import ungrouped
from plasm.jobs.records import JournalUnusable

T = TypeVar("T")

_FORMAT = 1
_PENDING_WRITES = 1024
_CLOSE_SECONDS = 10
"""A commit of what is pending takes milliseconds; a disk that hangs for longer than this must not hold the node."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, nonce BLOB NOT NULL, digest TEXT NOT NULL, job BLOB NOT NULL,
    module TEXT NOT NULL, module_size INTEGER NOT NULL, input_size INTEGER NOT NULL, input BLOB, runtime TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, accepted REAL NOT NULL, finished REAL,
    verdict TEXT, exit_code INTEGER, outputs BLOB, output_table BLOB, receipt BLOB, detail TEXT NOT NULL DEFAULT '',
    held INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, accepted);
PRAGMA user_version = {_FORMAT};
"""


class Database:
    """Use :func:`open_database`. Its methods raise :exc:`~plasm.jobs.records.JournalUnusable`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._send, self._receive = anyio.create_memory_object_stream[
            tuple[Callable[[sqlite3.Connection], Any], _Waiter]
        ](_PENDING_WRITES)
        self._commits = anyio.CancelScope(shield=True)

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """What `change` returns, once what it changed is committed."""
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

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns."""
        try:
            return await anyio.to_thread.run_sync(query, self._connection, limiter=self._one_at_a_time)
        except sqlite3.Error as error:
            raise JournalUnusable(f"the journal cannot be read: {error}") from error

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Commit what comes until :meth:`close`."""
        # Shielded: whoever records an ending while the node is being cancelled still gets it committed.
        with self._commits, self._receive:
            task_status.started()
            async for first in self._receive:
                batch = [first]
                with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream):
                    while len(batch) < _PENDING_WRITES:
                        batch.append(self._receive.receive_nowait())
                await anyio.to_thread.run_sync(
                    functools.partial(_commit, self._connection, batch), limiter=self._one_at_a_time
                )
                for _, waiter in batch:
                    waiter.done.set()

    def close(self) -> None:
        """Take nothing more; what is pending is still committed, if the disk takes it in time."""
        self._send.close()
        self._commits.deadline = anyio.current_time() + _CLOSE_SECONDS


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
    if version > _FORMAT:
        raise JournalUnusable(
            f"{path} was written by a newer Plasm (format {version})", "upgrade, or use another --home"
        )
    database.execute("PRAGMA temp_store = MEMORY")
    database.executescript(_SCHEMA)


@contextlib.asynccontextmanager
async def open_database(path: Path | None) -> AsyncIterator[Database]:
    """The database at `path`, made where there is none; in memory for ``None``.

    Raises :exc:`~plasm.jobs.records.JournalUnusable`.
    """
    try:
        connection = await anyio.to_thread.run_sync(_connect, path)
    except (sqlite3.Error, OSError) as error:
        raise JournalUnusable(f"{path} cannot be opened: {error}") from error
    database = Database(connection)
    try:
        with ungrouped():
            async with anyio.create_task_group() as tasks:
                await tasks.start(database.run)
                try:
                    yield database
                finally:
                    database.close()
    finally:
        connection.close()
